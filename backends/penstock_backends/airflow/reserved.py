"""Names that mean something else in a DAG file."""

from __future__ import annotations

import builtins
import keyword

_CONTEXT = """
asset_state_store conf conn dag dag_run data_interval_end data_interval_start ds ds_nodash exception
execution_date expanded_ti_count inlet_events inlets logical_date macros map_index_template next_ds
next_ds_nodash next_execution_date outlet_events outlets params partition_date partition_key
prev_data_interval_end_success prev_data_interval_start_success prev_ds prev_ds_nodash prev_end_date_success
prev_execution_date prev_execution_date_success prev_start_date_success reason run_id self task task_instance
task_instance_key_str task_reschedule_count task_state_store templates_dict test_mode ti tomorrow_ds
tomorrow_ds_nodash triggering_asset_events triggering_dataset_events try_number ts ts_nodash ts_nodash_with_tz
var yesterday_ds yesterday_ds_nodash
"""
CONTEXT = frozenset(_CONTEXT.split())
"""What Airflow 2 and 3 put into a task's context, where an argument of a task function can't take its place."""

FILE = frozenset(
    {
        *(
            "ATTEMPT",
            "AirflowFailException",
            "AirflowSkipException",
            "Asset",
            "AssetOrTimeSchedule",
            "Backoff",
            "CALLS",
            "CronTriggerTimetable",
            "DAG",
            "Dataset",
            "DatasetOrTimeSchedule",
            "FLOAT",
            "HARNESS",
            "PARAMETERS",
            "Param",
            "RetryDecision",
            "RetryPolicy",
        ),
        *(
            "KubernetesPodOperator",
            "SOURCES",
            "STEPS",
            "Secret",
            "StepPod",
            "XCOM_KEYS",
            "TaskGroup",
            "annotations",
            "dag",
            "index",
            "k8s",
            "pendulum",
            "random",
            "task",
            "task_group",
            "tasks",
            "timedelta",
        ),
    }
)
"""What a DAG file may define or import, apart from the code that runs a step."""

PYTHON = frozenset({*keyword.kwlist, *(name for name in dir(builtins) if name.islower())})
"""Keywords, and the builtins that are functions."""


def argument_name(name: str) -> str:
    """An argument of a task function, for an input of a step."""
    return f"{name}_" if name.rstrip("_") in CONTEXT else name


def free_name(name: str, taken: set[str]) -> str:
    """The name, or one like it that is not taken yet; it is now."""
    while name in taken:
        name += "_"
    taken.add(name)
    return name
