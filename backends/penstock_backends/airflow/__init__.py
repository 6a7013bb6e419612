"""Airflow: one DAG file, for 3.x or 2.x."""

from penstock_backends.airflow.backend import AirflowBackend
from penstock_backends.airflow.options import AirflowOptions

__all__ = ["AirflowBackend", "AirflowOptions"]
