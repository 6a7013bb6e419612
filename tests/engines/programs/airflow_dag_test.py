"""Inside Airflow's own environment: loads a folder of DAG files and runs `dag.test`, one forked process a job.

Reads one JSON job per line, ``{"folder", "result", "log", "conf", "dag_id", "run", "seconds"}``, and answers each with one line when it
is over: ``{"ended": "exited" | "timed out", "code": INT}``. What was observed is in the file ``result``. Airflow is imported once, here;
a job's environment variables, modules, database and log are its own, and a step that kills its process kills no one else's.
"""

import contextlib
import json
import os
import shutil
import signal
import sys
import time
import traceback

HOME = os.environ["AIRFLOW_HOME"]

# Airflow prints and logs to standard output, which is the answers' own channel.
ANSWERS = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)

import airflow  # noqa: E402
from airflow import settings  # noqa: E402
from airflow.models import DagBag, DagRun, TaskInstance, XCom  # noqa: E402, F401

MAJOR = int(airflow.__version__.split(".")[0])

if MAJOR == 3:
    import airflow.sdk.execution_time.task_runner  # noqa: F401
    from airflow.dag_processing.dagbag import DagBag
    from airflow.models.xcom import XComModel as XCom
    from airflow.sdk.serde import deserialize
    from airflow.sdk.execution_time.supervisor import in_process_api_server
    from airflow.serialization.serialized_objects import DagSerialization
else:
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


def observe(job):
    """Everything there is to see about one folder of DAG files, as JSON."""
    bag = DagBag(dag_folder=job["folder"], **({} if MAJOR == 3 else {"include_examples": False}))
    seen = {
        "import_errors": dict(bag.import_errors),
        "warnings": [line for lines in bag.captured_warnings.values() for line in lines],
        "dag_ids": sorted(bag.dags),
        "serialized": {},
        "state": "",
        "tasks": [],
        "xcoms": [],
    }
    for dag_id, dag in bag.dags.items():
        try:
            seen["serialized"][dag_id] = DagSerialization.to_dict(dag)
        except Exception as error:
            seen["import_errors"][dag_id] = f"{type(error).__name__}: {error}"
    dag_id = job["dag_id"] or next(iter(seen["dag_ids"]), "")
    if seen["import_errors"] or not job["run"] or dag_id not in bag.dags:
        return seen
    run = run_dag(bag.dags[dag_id], job["conf"])
    seen.update(run)
    return seen


def run_dag(dag, conf):
    if MAJOR == 2:
        # What the `airflow dags test` command of 2.x leaves to the scheduler: the row that foreign keys point at.
        dag.sync_to_db()
    run = dag.test(run_conf=conf)
    session = settings.Session()
    instances = session.query(TaskInstance).filter_by(dag_id=dag.dag_id, run_id=run.run_id).all()
    xcoms = session.query(XCom).filter_by(dag_id=dag.dag_id, run_id=run.run_id).all()
    return {
        "state": str(run.state.value if hasattr(run.state, "value") else run.state),
        "tasks": [
            {"task_id": each.task_id, "map_index": each.map_index, "state": state_of(each), "tries": each.try_number}
            for each in instances
        ],
        "xcoms": [
            {"task_id": each.task_id, "map_index": each.map_index, "key": each.key, "value": value_of(each)}
            for each in xcoms
        ],
    }


def state_of(instance):
    return "none" if instance.state is None else str(getattr(instance.state, "value", instance.state))


def value_of(xcom):
    """What a task would pull, where JSON can say it; its text where not."""
    # In 2.x the row decodes itself when it is loaded.
    value = deserialize(XCom.deserialize_value(xcom)) if MAJOR == 3 else xcom.value
    try:
        return json.loads(json.dumps(value))
    except (TypeError, ValueError):
        return repr(value)


def move_in(folder, database):
    """Give this process a DAG folder and a fresh metadata database of its own."""
    shutil.copyfile(os.path.join(HOME, "airflow.db"), database)
    os.environ["AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"] = f"sqlite:///{database}"
    os.environ["AIRFLOW__CORE__DAGS_FOLDER"] = folder
    settings.dispose_orm()
    settings.configure_vars()
    settings.configure_orm()


def rehearse():
    """Run one task in this process, so that all that is set up on first use (the execution API, mappers: 4 s) is there to be forked."""
    folder = os.path.join(HOME, "rehearsal")
    os.makedirs(folder)
    with open(os.path.join(folder, "rehearsal.py"), "w") as target:
        target.write(REHEARSAL)
    move_in(folder, os.path.join(HOME, "rehearsal.db"))
    seen = observe({"folder": folder, "dag_id": "rehearsal", "conf": {}, "run": True})
    if seen["state"] != "success":
        raise SystemExit(f"the rehearsal failed: {seen}")
    settings.dispose_orm()
    if MAJOR == 3:
        # Its event loop runs in a thread, which no fork survives: the child starts another for the same application.
        del in_process_api_server().transport


def be_the_job(job):
    """In the forked child: take on the job's folder, database and log, then observe."""
    os.setsid()
    log = os.open(job["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.environ.update(job["environ"])
    os.chdir(os.path.dirname(job["result"]))
    move_in(job["folder"], job["result"] + ".db")
    try:
        seen = observe(job)
    except BaseException:
        seen = {"crash": traceback.format_exc()}
    with open(job["result"] + ".part", "w") as target:
        json.dump(seen, target)
    os.replace(job["result"] + ".part", job["result"])


def carry_out(job):
    start = time.monotonic()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            be_the_job(job)
            code = 0
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
    end = start + job["seconds"]
    while time.monotonic() < end:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            stop_group(child)
            return {"ended": "exited", "code": os.waitstatus_to_exitcode(status), "seconds": time.monotonic() - start}
        time.sleep(0.005)
    stop_group(child)
    os.waitpid(child, 0)
    return {"ended": "timed out", "code": -signal.SIGKILL, "seconds": time.monotonic() - start}


def stop_group(leader):
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(leader, signal.SIGKILL)


def main():
    rehearse()
    say({"ready": airflow.__version__})
    for line in sys.stdin:
        say(carry_out(json.loads(line)))


def say(message):
    ANSWERS.write(json.dumps(message) + "\n")
    ANSWERS.flush()


main()
