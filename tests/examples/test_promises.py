"""What the examples that put something live promise: nothing bad gets there, and what does can be taken back."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from penstock.testing import PipelineRunner, raises
from tests.examples.loading import example


@pytest.fixture
def registry(tmp_path: Path) -> Path:
    return tmp_path / "registry"


@pytest.mark.slow
def test_a_release_that_does_not_answer_leaves_the_earlier_one_serving(
    penstock_run: PipelineRunner, registry: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nightly = example("nightly", monkeypatch)
    penstock_run(nightly, registry=str(registry)).assert_succeeded()
    assert penstock_run(nightly, registry=str(registry)).outputs == "v2 serves"
    run = penstock_run(nightly, registry=str(registry), fakes={"check_release": raises(OSError("no answer"))})
    assert run.states["withdraw"] == "succeeded"
    assert (registry / "current").readlink().name == "v2"
    assert (registry / "v3" / "model.joblib").exists()


def test_the_first_release_is_taken_back_to_nothing(
    penstock_run: PipelineRunner, registry: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fakes = {"check_release": raises(OSError("no answer"))}
    penstock_run(example("nightly", monkeypatch), registry=str(registry), fakes=fakes)
    assert not (registry / "current").is_symlink()


@pytest.mark.parametrize("title", ["nightly", "delivery"])
def test_a_model_below_the_floor_is_not_deployed(
    title: str, penstock_run: PipelineRunner, registry: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    floor = {"nightly": "floor", "delivery": "threshold"}[title]
    run = penstock_run(example(title, monkeypatch), {floor: 1.01, "registry": str(registry)})
    assert list(run.gates.values())[-1] is False
    assert not registry.exists()


def test_a_model_that_is_worse_than_the_one_that_serves_is_not_deployed(
    penstock_run: PipelineRunner, registry: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = penstock_run(example("nightly", monkeypatch), registry=str(registry), fakes={"evaluate_current": 1.0})
    assert run.states["deploy_model"] == "upstream_failed"
    assert not registry.exists()


def test_a_second_delivery_is_the_one_in_production(
    penstock_run: PipelineRunner, registry: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    delivery = example("delivery", monkeypatch)
    assert [penstock_run(delivery, registry=str(registry)).outputs for _ in range(2)] == ["v1", "v2"]
    index = json.loads((registry / "registry.json").read_text())
    assert (index["production"], list(index["models"])) == ("v2", ["v1", "v2"])


@pytest.mark.slow
def test_a_recommender_takes_the_idle_place_and_gives_it_back_if_it_fails(
    penstock_run: PipelineRunner, registry: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recommendation = example("recommendation", monkeypatch)
    said = [penstock_run(recommendation, registry=str(registry)).outputs for _ in range(2)]
    assert said == ["blue is live", "green is live"]
    penstock_run(recommendation, registry=str(registry), fakes={"verify": raises(OSError("no answer"))})
    assert (registry / "live").read_text() == "green"


def test_a_recommender_that_is_too_weak_or_overfitted_is_rejected(
    penstock_run: PipelineRunner, registry: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recommendation = example("recommendation", monkeypatch)
    weak = penstock_run(recommendation, registry=str(registry), floor=0.99)
    assert weak.outputs == "rejected: an AUC of 0.89 is too low"
    overfitted = penstock_run(recommendation, registry=str(registry), factors=80, floor=0.5)
    assert overfitted.outputs == "rejected: it is overfitted"
    assert not registry.exists()


@pytest.mark.slow
def test_cards_that_a_faulty_run_blocked_are_released_and_no_others(
    penstock_run: PipelineRunner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fraud, ledger = example("fraud", monkeypatch), tmp_path / "blocked.json"
    ledger.write_text("[1000]")
    run = penstock_run(fraud, ledger=str(ledger), most=3)
    run.assert_failed("reconcile", match="are more than 3")
    assert run.states["release_cards"] == run.states["alert"] == "succeeded"
    assert json.loads(ledger.read_text()) == [1000]
    penstock_run(fraud, ledger=str(ledger)).assert_succeeded()
    assert len(json.loads(ledger.read_text())) > 3


def test_nobody_is_blocked_by_a_detector_that_is_often_wrong(
    penstock_run: PipelineRunner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger = tmp_path / "blocked.json"
    run = penstock_run(example("fraud", monkeypatch), ledger=str(ledger), hour=9)
    assert run.gates["detection.precision >= trust"] is False
    assert not ledger.exists()


def test_bad_data_ends_at_its_gate(penstock_run: PipelineRunner, monkeypatch: pytest.MonkeyPatch) -> None:
    run = penstock_run(example("credit", monkeypatch), missing=0.3)
    run.assert_failed("validate_data", match="too many figures are missing")
    assert run.states["score_batch"] == "upstream_failed"
