"""Plain data work on the time-zone database that the `tzdata` package ships: which countries keep how many clocks."""

import csv
import importlib.resources
from collections import defaultdict
from datetime import date, datetime, time, timedelta
from pathlib import Path
from typing import NamedTuple
from zoneinfo import ZoneInfo

import tzdata

from penstock import Markdown, pipeline, step

NOON = time(12)
TABLES = importlib.resources.files(tzdata) / "zoneinfo"


class Zone(NamedTuple):
    """A time zone and the countries (ISO 3166 codes) that keep it."""

    name: str
    countries: tuple[str, ...]


class Clocks(NamedTuple):
    """The clocks of one country on one day, westernmost first."""

    country: str
    offsets: tuple[timedelta, ...]


def table(name: str) -> list[list[str]]:
    """The rows of one of the database's tab-separated tables, without comments."""
    lines = (TABLES / name).read_text(encoding="utf-8").splitlines()
    return list(csv.reader((line for line in lines if not line.startswith("#")), delimiter="\t"))


@step
def read_zones() -> list[Zone]:
    """Every zone that has kept its own time since 1970."""
    return [Zone(name, tuple(codes.split(","))) for codes, _, name, *_ in table("zone1970.tab")]


@step
def read_countries() -> dict[str, str]:
    """The name of each country by its code."""
    return dict(row[:2] for row in table("iso3166.tab"))


@step
def clocks_on(day: date, zones: list[Zone], names: dict[str, str]) -> list[Clocks]:
    """The distinct offsets from UTC that each country keeps at noon of a day; most clocks first."""
    offsets: defaultdict[str, set[timedelta]] = defaultdict(set)
    for zone in zones:
        offset = datetime.combine(day, NOON, ZoneInfo(zone.name)).utcoffset() or timedelta()
        for country in zone.countries:
            offsets[names[country]].add(offset)
    found = [Clocks(country, tuple(sorted(kept))) for country, kept in offsets.items()]
    return sorted(found, key=lambda each: (-len(each.offsets), each.country))


@step
def changing(winter: list[Clocks], summer: list[Clocks]) -> list[str]:
    """The countries in which some clock is not the same on the two days."""
    before = {each.country: each.offsets for each in winter}
    return sorted(each.country for each in summer if before[each.country] != each.offsets)


@step
def write(clocks: list[Clocks], changes: list[str], most: int) -> Markdown[Path]:
    """A page with the countries that keep the most clocks."""
    head = ["# Clocks of the world", "", "| country | clocks | westernmost | easternmost |", "|---|---|---|---|"]
    rows = [
        f"| {each.country} | {len(each.offsets)} | {hours(each.offsets[0])} | {hours(each.offsets[-1])} |"
        for each in clocks[:most]
    ]
    tail = ["", f"{len(changes)} countries change their clocks.", ""]
    page = Path("clocks.md")
    page.write_text("\n".join([*head, *rows, *tail]), encoding="utf-8")
    return page


def hours(offset: timedelta) -> str:
    """An offset as it is usually written: `+05:30`."""
    minutes = int(offset.total_seconds() // 60)
    return f"{'-' if minutes < 0 else '+'}{abs(minutes) // 60:02}:{abs(minutes) % 60:02}"


class Result(NamedTuple):
    """What a run found."""

    changing: list[str]
    report: Markdown[Path]


@pipeline(tags=["example", "data"])
def timezones(winter: date = date(2025, 1, 15), summer: date = date(2025, 7, 15), most: int = 10) -> Result:
    """Read the database, look at two days of a year, and report on the countries with the most clocks."""
    zones, names = read_zones(), read_countries()
    in_winter = clocks_on.with_options(name="clocks_in_winter")(winter, zones, names)
    in_summer = clocks_on.with_options(name="clocks_in_summer")(summer, zones, names)
    changes = changing(in_winter, in_summer)
    return Result(changes, write(in_summer, changes, most))
