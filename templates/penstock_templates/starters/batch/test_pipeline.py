"""Tests of the pipeline: `pytest`."""

from datetime import date
from decimal import Decimal

from pipeline import Order, Region, batch, extract, summarise

from penstock.testing import PipelineRunner, attempts

DAY = date(2026, 1, 5)


def test_a_region_is_summed_up() -> None:
    orders = [Order(DAY, "north", Decimal("1.10")), Order(DAY, "north", Decimal("2.20")), Order(DAY, "north", None)]
    assert summarise(Region("north", orders)).total == Decimal("3.30")


def test_each_region_has_a_row(penstock_run: PipelineRunner) -> None:
    run = penstock_run(batch).assert_succeeded()
    assert run.outputs.read_text().split() == ["region,orders,total", "east,1,42.00", "north,2,140.00", "south,2,80.00"]


def test_the_source_is_asked_again_when_it_does_not_answer(penstock_run: PipelineRunner) -> None:
    orders = [Order(DAY, "north", Decimal(1))]
    run = penstock_run(batch, fakes={extract: attempts(OSError("no answer"), orders)})
    assert run["extract"].attempts == 2


def test_nothing_is_written_where_too_many_orders_have_no_amount(penstock_run: PipelineRunner) -> None:
    run = penstock_run(batch, fakes={extract: [Order(DAY, "north", None)]})
    assert list(run.gates.values()) == [False]
    assert run.states["write"] == "upstream_failed"
