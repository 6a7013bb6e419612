"""What the commands for stores say, as lines of rich markup."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from rich.markup import escape

from penstock.settings import size_text
from penstock.upkeep import COPIED, Cleared, Holding, Verified

_SHOWN = 20


def holdings(place: str, held: Mapping[str, Holding]) -> Iterator[str]:
    """What a store holds, a line for each kind."""
    yield f"[bold]{escape(place)}[/]"
    kept = {kind: each for kind, each in held.items() if kind != COPIED}
    total = Holding(sum(each.count for each in kept.values()), sum(each.size for each in kept.values()))
    copied = {"copied here": held[COPIED]} if COPIED in held else {}
    for kind, each in {**kept, "in all": total, **copied}.items():
        yield f"  {kind:11} {each.count:8,}  {size_text(each.size):>12}"


def verified(found: Verified) -> Iterator[str]:
    """What is damaged, and how much was looked at."""
    for each in found.damages[:_SHOWN]:
        mended = "  [green]removed[/]" if each.is_mended else ""
        yield f"[red]{each.kind}[/] {escape(each.name)}: {escape(each.problem)}{mended}"
    if len(found.damages) > _SHOWN:
        yield f"... and {len(found.damages) - _SHOWN:,} more"
    counted = [f"{count:,} {kind.removesuffix('s') if count == 1 else kind}" for kind, count in found.counts.items()]
    looked_at = ", ".join(counted) or "nothing"
    open_ones = [each for each in found.damages if not each.is_mended]
    yield f"{looked_at} read; {len(found.damages) or 'nothing':{',' if found.damages else ''}} damaged"
    if any(each.kind != "run" for each in open_ones):
        yield "what is damaged is never read: runs compute it anew; `penstock store verify --repair` removes it now"
    if any(each.kind == "run" for each in open_ones):
        yield "a damaged run is kept for what can still be read of it; `penstock runs rm RUN` removes it"


def cleared(done: Cleared, is_dry: bool, max_size: int | None) -> Iterator[str]:
    """What went, or would."""
    for kind, each in done.gone.items():
        if each.count:
            yield f"  {kind:11} {each.count:8,}  {size_text(each.size):>12}"
    yield f"{'would free' if is_dry else 'freed'} {size_text(done.size)}, {size_text(done.left)} left"
    if max_size is not None and done.left > max_size:
        yield (
            f"that is more than {size_text(max_size)}: the rest is of runs, or in use; "
            "`penstock runs rm` removes runs with their logs"
        )
