"""Schedules, triggers and bounds on runs, from what authors write to the spec."""

import datetime as dt

import pytest

from penstock import (
    AfterPipeline,
    Concurrency,
    DataChange,
    DefinitionError,
    PullRequest,
    Push,
    Schedule,
    pipeline,
    step,
)
from penstock.spec import ConcurrencySpec, DataTrigger, PipelineTrigger, PullRequestTrigger, PushTrigger
from penstock.starting import concurrency_of, schedule_of, triggers_of, updates_of


@step
def work() -> None: ...


@pipeline
def earlier() -> None:
    work()


@pytest.mark.parametrize(
    ("start", "text"),
    [
        (None, ""),
        (dt.date(2026, 1, 31), "2026-01-31"),
        (dt.datetime(2026, 1, 31, 6, 30), "2026-01-31T06:30:00"),  # local to the schedule's zone
        ("2026-01-31", "2026-01-31"),
        ("2026-01-31T06:30", "2026-01-31T06:30:00"),
    ],
)
def test_a_start_is_a_date_or_a_local_time(start, text):
    found = schedule_of(Schedule("0 2 * * *", "Europe/Berlin", start=start))
    assert found is not None
    assert (found.start, found.catch_up) == (text, False)


@pytest.mark.parametrize(
    ("written", "said"),
    [
        (Schedule("0 2 * * *", start="tomorrow"), "not an ISO date"),
        (Schedule("0 2 * * *", start=dt.datetime(2026, 1, 1, tzinfo=dt.timezone.utc)), "without a zone"),
        (Schedule("0 2 * * *", start=3), "a date or a datetime"),  # type: ignore[arg-type]
        (Schedule("0 2 * * *", catch_up=True), "needs a `start`"),
        ("0 25 * * *", "says hour 25; there are 0 to 23"),
        ("*/5,60 2 * * *", "says minute 60"),
        ("0 2 1-32 * *", "says day of a month 32"),
        ("0 2 * 0 *", "says month 0"),
        (3, "a cron expression or a `Schedule`, not 3"),
    ],
)
def test_a_schedule_that_cannot_be_is_refused(written, said):
    with pytest.raises(ValueError, match=said):
        schedule_of(written)


def test_a_schedule_that_is_merely_unusual_is_taken():
    for cron in ("*/5 0-23/2 1,15,31 JAN-DEC MON-FRI", "0 2 L * 7"):
        found = schedule_of(cron)
        assert found is not None
        assert found.cron == cron


def test_triggers_are_data():
    written = [
        Push(["main"], ["models/**"]),
        PullRequest(paths=["*.py"]),
        AfterPipeline("load"),
        DataChange("s3://a/b"),
    ]
    assert triggers_of(written) == (
        PushTrigger(branches=("main",), paths=("models/**",)),
        PullRequestTrigger(paths=("*.py",)),
        PipelineTrigger(pipeline="load"),
        DataTrigger(uri="s3://a/b"),
    )
    assert triggers_of(AfterPipeline(earlier)) == (PipelineTrigger(pipeline="earlier"),)


@pytest.mark.parametrize(
    ("trigger", "said"),
    [
        ("0 2 * * *", "a cron expression is a `schedule`"),
        (Schedule("0 2 * * *"), "a cron expression is a `schedule`"),
        (Push("main"), r"a list of texts, not one text: write \['main'\]"),
        (AfterPipeline(3), "the name of a pipeline"),  # type: ignore[arg-type]
        (DataChange("features"), "a URI such as"),
        (Push, "takes `Push`"),
    ],
)
def test_what_is_no_trigger_is_refused(trigger, said):
    with pytest.raises(ValueError, match=said):
        triggers_of(trigger)


def test_updates_are_told_apart():
    assert updates_of("s3://a/b") == ("s3://a/b",)
    assert updates_of(["s3://a/b", "s3://a/c", "s3://a/b"]) == ("s3://a/b", "s3://a/c")
    with pytest.raises(ValueError, match="a URI such as"):
        updates_of(3)


def test_a_bound_on_runs():
    assert concurrency_of(None) is None
    assert concurrency_of(2) == ConcurrencySpec(limit=2)
    assert concurrency_of(Concurrency(cancel_running=True)) == ConcurrencySpec(limit=1, cancel_running=True)


@pytest.mark.parametrize("bound", [0, True, "1", Concurrency(0)])
def test_what_is_no_bound_is_refused(bound):
    with pytest.raises(ValueError, match="a number of runs from 1 on"):
        concurrency_of(bound)


def test_a_pipeline_tells_of_its_starts_and_a_wrong_one_has_a_place():
    @pipeline(triggers=Push(), updates="s3://a/b", concurrency=1)
    def whole() -> None:
        work()

    assert (whole.spec.triggers, whole.spec.updates) == ((PushTrigger(),), ("s3://a/b",))
    assert whole.spec.concurrency == ConcurrencySpec()
    with pytest.raises(DefinitionError, match="a number of runs") as caught:

        @pipeline(concurrency=0)
        def none() -> None:
            work()

    place = caught.value.diagnostics[0].location
    assert place is not None
    assert "def none" in place.text


def test_one_text_is_no_list_of_tags():
    with pytest.raises(DefinitionError, match=r"`tags` is a list of texts, not one text: write \['nightly'\]"):

        @pipeline(tags="nightly")
        def none() -> None:
            work()


def test_secrets_are_references_and_a_value_given_instead_is_not_shown():
    @step(secrets={"PASSWORD": "warehouse/password"})
    def load() -> None: ...

    assert load.settings.secrets == (("PASSWORD", "warehouse/password"),)
    assert load.with_options(secrets={"TOKEN": "api"}).settings.secrets == (
        ("PASSWORD", "warehouse/password"),
        ("TOKEN", "api"),
    )
    with pytest.raises(DefinitionError, match=r"is not a reference .* small letters, digits and `-`") as caught:
        load.with_options(secrets={"TOKEN": "hunter2 or so"})
    assert "hunter2" not in str(caught.value)
    with pytest.raises(DefinitionError, match="environment variables, such as"):
        load.with_options(secrets={"A-B": "api"})
    with pytest.raises(DefinitionError, match="says for each variable what it holds"):
        load.with_options(secrets=["TOKEN"])  # type: ignore[arg-type]
    with pytest.raises(DefinitionError, match="both in `env` and in `secrets`"):
        load.with_options(env={"PASSWORD": "1"})
    with pytest.raises(DefinitionError, match="a variable of Penstock's own"):
        load.with_options(secrets={"PENSTOCK_NEEDS": "api"})


@pytest.mark.parametrize(
    ("starts", "said"),
    [
        ({"triggers": DataChange("s3://a/b"), "updates": ["s3://a/b"]}, "a run updates `s3://a/b` and is started by"),
        ({"triggers": AfterPipeline("whole")}, "`whole` is started after itself"),
    ],
)
def test_a_pipeline_that_would_start_itself_forever_is_refused(starts, said):
    with pytest.raises(DefinitionError, match=said):

        @pipeline(**starts)
        def whole() -> None:
            work()
