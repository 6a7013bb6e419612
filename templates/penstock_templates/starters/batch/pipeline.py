"""Reads orders, checks them, sums each region up by itself, and writes one table.

Everything here runs as it is, with the standard library. Put your own source into `extract` and your own sink into
`write`; regions are worked on side by side.
"""

import csv
import io
from collections import defaultdict
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from pathlib import Path

from penstock import Dataset, Gate, Retry, RunStatus, log_metric, pipeline, step

ORDERS = """\
day,region,amount
2026-01-05,north,120.50
2026-01-05,south,80.00
2026-01-06,north,19.50
2026-01-06,east,42.00
2026-01-06,south,
"""


@dataclass(frozen=True)
class Order:
    """One order; without an amount where the source has none."""

    day: date
    region: str
    amount: Decimal | None


@dataclass(frozen=True)
class Region:
    """The orders of one region."""

    name: str
    orders: list[Order]


@dataclass(frozen=True)
class Summary:
    """What came in from one region."""

    region: str
    orders: int
    total: Decimal


@step(retry=Retry(max_retries=3, delay=10, backoff=2), gates=[Gate("orders", ">", 0, message="there are no orders")])
def extract(since: date) -> list[Order]:
    """The orders from that day on."""
    rows = csv.DictReader(io.StringIO(ORDERS))
    found = [
        Order(date.fromisoformat(row["day"]), row["region"], Decimal(row["amount"]) if row["amount"] else None)
        for row in rows
    ]
    recent = [order for order in found if order.day >= since]
    log_metric("orders", len(recent))
    return recent


@step
def share_without_amount(orders: list[Order]) -> float:
    """How many of the orders, of 1, have no amount."""
    return sum(order.amount is None for order in orders) / len(orders)


@step
def by_region(orders: list[Order]) -> list[Region]:
    """The orders of each region, in the order of their names."""
    regions: defaultdict[str, list[Order]] = defaultdict(list)
    for order in orders:
        regions[order.region].append(order)
    return [Region(name, regions[name]) for name in sorted(regions)]


@step
def summarise(region: Region) -> Summary:
    """The sum of one region's orders."""
    amounts = [order.amount for order in region.orders if order.amount is not None]
    return Summary(region.name, len(region.orders), sum(amounts, Decimal(0)))


@step
def write(summaries: list[Summary]) -> Dataset[Path]:
    """All regions as one table."""
    place = Path("summary.csv")
    with place.open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file)
        table.writerow(["region", "orders", "total"])
        table.writerows([each.region, each.orders, each.total] for each in summaries)
    return place


@step
def tell(status: RunStatus) -> None:
    """Tells whoever is on call what went wrong."""
    for node, message in status.failures.items():
        print(f"{status.pipeline}: {node}: {message}")


@pipeline(on_failure=tell, timeout=3600, tags=["batch"])
def batch(since: date = date(2026, 1, 1), tolerated: float = 0.25) -> Dataset[Path]:
    """Sums up what came in from each region; stops where too many orders have no amount."""
    orders = extract(since)
    assert share_without_amount(orders) <= tolerated, "too many orders have no amount"
    return write([summarise(region) for region in by_region(orders)])
