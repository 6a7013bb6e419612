#!/usr/bin/env python3
"""Writes the support table in ``targets.md`` from what the backends declare; ``make docs`` runs it."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from pathlib import Path

from penstock import compiler
from penstock.backend import Level, Support
from penstock.support import WORDS, Row, support_rows

PAGE = Path(__file__).parent / "targets.md"
BEGIN = "<!-- support table: made by docs/support_table.py; `make docs` writes it anew -->"
END = "<!-- end of the support table -->"
WIDTH = 120


def table() -> str:
    """A matrix of feature by target, then what each target says of how it keeps a feature, or why it does not."""
    targets = compiler.targets()
    lines = [
        f"| Feature | {' | '.join(f'`{target}`' for target in targets)} |",
        f"|---|{'---|' * len(targets)}",
    ]
    rows = support_rows(targets)
    lines += [f"| {row.name} | {' | '.join(_word(row.answers[target]) for target in targets)} |" for row in rows]
    for target in targets:
        lines += ["", f"How `{target}` keeps them:", "", *_notes(target, rows)]
    return "\n".join(lines)


def _notes(target: str, rows: tuple[Row, ...]) -> Iterator[str]:
    for row in rows:
        support = row.answers[target]
        if support.how:
            text = f"- {row.name} ({_word(support)}): {_how(support)}"
            yield textwrap.fill(text, WIDTH, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)


def _word(support: Support) -> str:
    word = WORDS[support.level]
    return f"**{word}**" if support.level is Level.UNSUPPORTED else word


def _how(support: Support) -> str:
    return f"{support.how}. Instead: {support.fix}." if support.fix else f"{support.how}."


def renewed(page: str) -> str:
    """The page with the table of today. Raises `ValueError` where its two markers are not there."""
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{PAGE.name} lacks a marker: {BEGIN} or {END}")
    return f"{before}{BEGIN}\n\n{table()}\n\n{END}{after}"


if __name__ == "__main__":
    PAGE.write_text(renewed(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
