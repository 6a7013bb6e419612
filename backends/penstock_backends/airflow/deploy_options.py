"""Where and how DAG files are deployed."""

from __future__ import annotations

from pydantic import Field

from penstock.deployment import Address, DeployOptions, Names


class AirflowDeployOptions(DeployOptions):
    """The options of deploying to Airflow.

    Credentials are read from the environment: ``AIRFLOW_TOKEN``, or ``AIRFLOW_USERNAME`` and ``AIRFLOW_PASSWORD``.

    Attributes:
        dags: the DAG folder that Airflow reads, as it is mounted here.
        server: the address of Airflow's web server, as a browser has it. Where it is given, Airflow is asked whether it
            can import the file, and runs can be started.
        patience: for how many seconds to wait until Airflow has read a file that was put there.
        poll_seconds: how long to wait before asking Airflow again.
        unpause: have Airflow start runs of a DAG that it, or a person, has paused; it pauses new ones by default.
        keep: how many versions are kept to return to.
        replaces: names of pipelines that this one takes the place of. Its own, where what is deployed under that was
            defined in another file; others, such as one that it had before, whose DAG files are taken away.
    """

    dags: str = ""
    server: Address = ""
    patience: float = Field(default=600, gt=0)
    poll_seconds: float = Field(default=2, gt=0)
    unpause: bool = False
    keep: int = Field(default=20, ge=2)
    replaces: Names = ()
