"""Inside Airflow's own environment: loads a folder of DAG files and runs `dag.test`. Airflow is imported once, here.

A job adds ``{"dags": FOLDER, "run": BOOL, "dag_id": TEXT, "conf": {..}}`` to what `forking` asks for.
"""

import json
import os
import shutil
import sys
from pathlib import Path

sys.path += filter(None, [os.environ.get("MORE_PACKAGES")])

import forking  # takes standard output away before Airflow prints to it

import airflow
from airflow import settings
from sqlalchemy import event
from sqlalchemy.engine import Engine

MAJOR = int(airflow.__version__.split(".")[0])
HOME = Path(os.environ["AIRFLOW_HOME"])

from airflow.models import TaskInstance

if MAJOR == 3:
    from airflow.dag_processing.dagbag import DagBag
    from airflow.models.xcom import XComModel as XCom
    from airflow.sdk.execution_time.supervisor import in_process_api_server
    from airflow.sdk.serde import deserialize
    from airflow.serialization.serialized_objects import DagSerialization
else:
    from airflow.models import DagBag, XCom
    from airflow.serialization.serialized_objects import SerializedDAG as DagSerialization

REHEARSAL = f"""
import datetime
from {"airflow.sdk" if MAJOR == 3 else "airflow.decorators"} import dag, task

@dag(schedule=None, start_date=datetime.datetime(2024, 1, 1))
def rehearsal():
    @task
    def play(note):
        return note

    play(play(1))

rehearsal()
"""


@event.listens_for(Engine, "connect")
def hurry(connection, _):
    """Have no commit wait for the disk (a tenth of a run): a database ends with its job."""
    connection.execute("PRAGMA synchronous = OFF")


def observe_alone(job):
    move_in(job["dags"], f"{job['result']}.db")
    return observe(job)


def move_in(folder, database):
    """Give this process a DAG folder and a fresh metadata database of its own."""
    shutil.copyfile(HOME / "airflow.db", database)
    os.environ["AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"] = f"sqlite:///{database}"
    os.environ["AIRFLOW__CORE__DAGS_FOLDER"] = str(folder)
    settings.dispose_orm()
    settings.configure_vars()
    settings.configure_orm()


def observe(job):
    """Everything there is to see about one folder of DAG files."""
    bag = DagBag(dag_folder=str(job["dags"]), **({} if MAJOR == 3 else {"include_examples": False}))
    seen = {
        "import_errors": dict(bag.import_errors),
        "warnings": [line for lines in bag.captured_warnings.values() for line in lines],
        "dag_ids": sorted(bag.dags),
        "serialized": {},
    }
    for dag_id, dag in bag.dags.items():
        try:
            seen["serialized"][dag_id] = DagSerialization.to_dict(dag)
        except Exception as error:
            seen["import_errors"][dag_id] = f"{type(error).__name__}: {error}"
    dag_id = job["dag_id"] or next(iter(seen["dag_ids"]), "")
    if job["run"] and not seen["import_errors"] and dag_id in bag.dags:
        seen.update(run_dag(bag.dags[dag_id], job["conf"]))
    return seen


def run_dag(dag, conf):
    if MAJOR == 2:
        # What `dag.test` of 2.x leaves to the scheduler: the row that foreign keys point at.
        dag.sync_to_db()
    run = dag.test(run_conf=conf)
    session = settings.Session()
    instances = session.query(TaskInstance).filter_by(dag_id=dag.dag_id, run_id=run.run_id).all()
    xcoms = session.query(XCom).filter_by(dag_id=dag.dag_id, run_id=run.run_id).all()
    return {
        "state": text_of(run.state),
        "tasks": [
            {
                "task_id": each.task_id,
                "map_index": each.map_index,
                "state": text_of(each.state),
                "tries": each.try_number,
            }
            for each in instances
        ],
        "xcoms": [
            {"task_id": each.task_id, "map_index": each.map_index, "key": each.key, "value": value_of(each)}
            for each in xcoms
        ],
    }


def text_of(state):
    return "none" if state is None else str(getattr(state, "value", state))


def value_of(xcom):
    """What a task would pull, where JSON can say it; its text where not."""
    # In 2.x the row decodes itself when it is loaded.
    value = deserialize(xcom.value) if MAJOR == 3 else xcom.value
    try:
        return json.loads(json.dumps(value))
    except (TypeError, ValueError):
        return repr(value)


def rehearse():
    """Run a small DAG here, so that what is set up on first use (4 s: the execution API, mappers) can be forked."""
    folder = HOME / "rehearsal"
    folder.mkdir(exist_ok=True)  # it is there where an earlier helper died
    (folder / "rehearsal.py").write_text(REHEARSAL)
    move_in(folder, HOME / "rehearsal.db")
    seen = observe({"dags": folder, "dag_id": "rehearsal", "conf": {}, "run": True})
    if seen.get("state") != "success":
        raise SystemExit(f"the rehearsal failed: {seen}")
    settings.dispose_orm()
    if MAJOR == 3:
        # Its event loop runs in a thread, which no fork survives: a job starts another for the same application.
        del in_process_api_server().transport


rehearse()
forking.serve(observe_alone, airflow.__version__)
