"""Alerts on failure: a step at the end of a pipeline that a target's option ``alert`` adds before anything is emitted.

The URL of a webhook is a secret, for who knows it may post to it. So the option names the secret, as steps do.
"""

from __future__ import annotations

import inspect

from pydantic import Field, field_validator

from penstock import harness
from penstock.backend import Options
from penstock.provided import module_source, reached
from penstock.settings import settings_of
from penstock.spec import (
    FieldSpec,
    LiteralBinding,
    ParameterSpec,
    PipelineSpec,
    Reach,
    RetrySpec,
    Returns,
    Settings,
    StatusBinding,
    StepSpec,
    Task,
    TypeKind,
    TypeSpec,
    walk,
)
from penstock_backends import alert_webhook

VARIABLE = "PENSTOCK_ALERT_URL"
MODULE = "penstock_alert"
STEP = f"{MODULE}:{alert_webhook.tell_of_failure.__name__}"


class AlertOptions(Options):
    """Options of targets that can tell of failures.

    Args:
        alert: the secret, ``NAME`` or ``NAME/KEY``, that is the URL of a webhook which is told of each run that failed.
    """

    alert: str = Field("", repr=False)  # who takes it for the URL itself should not find that in an error

    @field_validator("alert")
    @classmethod
    def _is_a_reference(cls, given: str) -> str:
        if given:
            try:
                settings_of(Settings(), secrets={"URL": given})
            except ValueError:
                raise ValueError("it names the secret that holds the URL, such as 'alerts/webhook'") from None
        return given


def with_alert(pipeline: PipelineSpec, secret: str, engine: str) -> PipelineSpec:
    """The pipeline with a last ``on_failure`` step that tells the webhook; without a secret, as it is.

    What it posts is told a few times, and its own failure hides none before it.
    """
    if not secret:
        return pipeline
    settings = Settings(
        secrets=((VARIABLE, secret),),
        retry=RetrySpec(max_retries=2, delay=10.0),
        timeout=30.0,
        cache=False,
    )
    inputs = (("status", StatusBinding()), ("engine", LiteralBinding(value=engine)))
    task = Task(id=_free_name(pipeline), step=STEP, inputs=inputs, settings=settings, span=pipeline.span)
    reach = reached(alert_webhook, MODULE, alert_webhook.tell_of_failure.__name__)
    return pipeline.model_copy(
        update={
            "steps": (*pipeline.steps, _step(reach)),
            "modules": (*pipeline.modules, module_source(alert_webhook, MODULE, reach.names)),
            "on_failure": (*pipeline.on_failure, task),
        }
    )


def _free_name(pipeline: PipelineSpec) -> str:
    rollbacks = (each.rollback for each in walk(pipeline.body) if isinstance(each, Task))
    others = (*walk(pipeline.body), *pipeline.on_failure, *pipeline.on_exit, *filter(None, rollbacks))
    taken = {each.id.partition(".")[0] for each in others}
    return next(name for name in ("alert", *(f"alert_{n}" for n in range(2, len(taken) + 3))) if name not in taken)


def _step(reach: Reach) -> StepSpec:
    function = alert_webhook.tell_of_failure
    return StepSpec(
        id=STEP,
        description=inspect.getdoc(function) or "",
        inputs=(ParameterSpec(name="status", type=_status()), ParameterSpec(name="engine", type=_TEXT)),
        returns=Returns(kind="none"),
        reach=(reach,),
    )


_TEXT = TypeSpec(kind=TypeKind.STR, text="str")


def _status() -> TypeSpec:
    texts = TypeSpec(kind=TypeKind.DICT, args=(_TEXT, _TEXT), text="dict[str, str]")
    fields = (
        FieldSpec(name="pipeline", type=_TEXT),
        FieldSpec(name="state", type=_TEXT),
        FieldSpec(name="failures", type=texts, required=False),
    )
    name = harness.type_name(harness.RunStatus)
    return TypeSpec(kind=TypeKind.DATACLASS, name=name, fields=fields, text="RunStatus")
