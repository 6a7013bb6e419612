"""What can be chosen for a DAG file."""

from __future__ import annotations

import datetime as dt
from typing import Literal

from pydantic import field_validator

from penstock.backend import Options


class AirflowOptions(Options):
    """What can be chosen for a DAG file.

    Args:
        airflow: the major version of Airflow that the file is for.
        artifact_root: the folder, shared by all workers, for artifacts and large values. Empty: the Airflow Variable
            ``artifact_root``, or where there is none, ``$AIRFLOW_HOME/artifacts``.
        start_date: the first day that a schedule may run for, as ``YYYY-MM-DD``, where the pipeline does not say.
        pool: the pool that the tasks take a slot of; Airflow's default pool where empty.
    """

    airflow: Literal[3, 2] = 3
    artifact_root: str = ""
    start_date: dt.date | None = None
    pool: str = ""

    @field_validator("artifact_root")
    @classmethod
    def _is_a_folder(cls, root: str) -> str:
        if root and not root.startswith("/"):
            raise ValueError("must be the absolute path of a folder that all workers mount")
        return root
