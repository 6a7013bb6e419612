"""Watches a run by its rules: flags what is out of bounds while it goes on, and tells whom it concerns."""

from __future__ import annotations

import datetime as dt
import math
import time
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path

from penstock.harness import parts_of, verdict_text
from penstock_backends.local.alerts import FEWEST_RUNS, Alert
from penstock_backends.local.health import Flag, Health, Usual
from penstock_backends.local.history import StoredHistory
from penstock_backends.local.layout import log_of
from penstock_backends.local.objects import Json
from penstock_backends.local.observing import Background
from penstock_backends.local.sending import Note, Sender
from penstock_backends.local.store import Store
from penstock_backends.local.weighing import peaks

MESSAGE_VERSION = 1
WEIGHED_EVERY = 0.5  # seconds between two looks at the memory of what is under way
MOST_FAILURES = 20


class Watch(Background[Json]):
    """Takes a run's events. It weighs attempts under way where these have processes of their own (``weighs``)."""

    def __init__(
        self, rules: Sequence[Alert], pipeline: str, store: Store, folder: Path, note: Note, *, weighs: bool
    ) -> None:
        super().__init__("penstock-watch")
        self._rules = rules
        self._pipeline = pipeline
        self._folder = folder
        self._store = store
        self._note = note
        self._health = Health(rules, self._usual)
        self._weighs = weighs and self._health.watches_memory
        self._sender = Sender(note)
        self._began: Json = {}
        self._attempts: dict[str, int] = {}
        self._failures: dict[str, str] = {}
        self._told: set[tuple[int, str]] = set()
        self._earlier: Usual | None = None
        self._weighed = 0.0

    def start(self) -> None:
        """Has it begin."""
        self._sender.start()
        super().start()

    def close(self, patience: float) -> bool:
        """Waits for what is to be told to be delivered, as long as there is patience."""
        end = time.monotonic() + patience
        has_ended = super().close(patience)
        if not has_ended:
            self.failed(TimeoutError("it was not done in time"))
        return self._sender.close(max(0.0, end - time.monotonic())) and has_ended

    def failed(self, error: Exception) -> None:
        """Says that watching itself went wrong."""
        text = f"watching the run failed: {type(error).__name__}: {error}"
        self._note("alert_failed", "", text, on="", to="", tries=0, error=text)

    def take(self, item: Json) -> None:
        """Deals with an event."""
        now = time.monotonic()
        name, node = item["event"], item.get("node", "")
        if name == "run_started":
            self._began = item
            self._health.started("", now)
        elif name == "attempt_started":
            self._attempts[node] = item["attempt"]
            self._health.started(node, now)
        elif name == "attempt_ended":
            self._tell_flags(self._health.ended(node, item["seconds"], item.get("peak_memory")))
        elif name == "node_ended":
            self._take_end_of(node, item)
        elif name == "run_ended":
            self._tell_flags(self._health.ended("", item["seconds"]))
            self._take_end(item)

    def due(self) -> float:
        """When something is overdue, or to be weighed."""
        is_weighing = self._weighs and self._health.under_way
        return min(self._health.next_due(), self._weighed + WEIGHED_EVERY if is_weighing else math.inf)

    def look(self) -> None:
        """Flags what is out of bounds."""
        now = time.monotonic()
        self._tell_flags(self._health.overdue(now))
        if self._weighs and now >= self._weighed + WEIGHED_EVERY:
            self._weighed = now
            place = self._folder.resolve()
            logs = {str(log_of(place, node, self._attempts[node])): node for node in self._health.under_way}
            for node, memory in peaks(logs).items():
                self._tell_flags(self._health.weighed(node, memory))

    def _take_end_of(self, node: str, event: Json) -> None:
        if event["state"] == "failed":
            self._failures[node] = event.get("error", "")
        failed = [each for each in event.get("gates", ()) if not each["passed"]]
        for rule in self._rules_on("gate") if failed else ():
            if rule.is_about(node):
                said = "; ".join(map(verdict_text, failed))
                self._tell(rule, f"`{node}` of {self._pipeline}: {said}", node=node, gates=failed)

    def _take_end(self, event: Json) -> None:
        state = event["state"]
        error = event.get("error", "")
        about = f"{self._pipeline} {'was cancelled' if state == 'cancelled' else state}{error and f': {error}'}"
        facts = {"state": state, "seconds": event["seconds"], "failures": dict(self._some_failures())}
        for rule in self._rules_on("cancelled") if state == "cancelled" else ():
            self._tell(rule, about, **facts)
        if state != "failed":
            return
        for rule in self._rules_on("failure"):
            concerned = [node for node in self._failures if rule.is_about(node)]
            if concerned or not rule.node:
                node = (concerned or [""])[0]
                what = f"{about}: `{node}`: {_first_line(self._failures[node])}" if node else about
                self._tell(rule, what, node=node, **facts)
        for rule in self._rules_on("failure_rate"):
            self._tell_rate(rule, facts)

    def _tell_rate(self, rule: Alert, facts: Json) -> None:
        others = (run for run in StoredHistory(self._store).runs(self._pipeline) if run.id != self._began["run"])
        ends = (run.state for run in others if run.state in ("succeeded", "failed", "interrupted"))
        states = ["failed", *islice(ends, rule.runs - 1)]
        failed = sum(state != "succeeded" for state in states)
        rate = failed / len(states)
        if len(states) >= FEWEST_RUNS and rate > (rule.above or 0.0):
            text = f"{failed} of the last {len(states)} runs of {self._pipeline} failed"
            self._tell(rule, text, value=rate, threshold=rule.above, **facts)

    def _some_failures(self) -> Iterator[tuple[str, str]]:
        yield from list(self._failures.items())[:MOST_FAILURES]

    def _rules_on(self, what: str) -> Iterator[Alert]:
        return (rule for rule in self._rules if rule.on == what)

    def _tell_flags(self, flags: Iterable[Flag]) -> None:
        for flag in flags:
            more = {"value": round(flag.value, 6), "threshold": flag.threshold}
            self._note("flagged", flag.node, flag.text, what=flag.rule.on, **more)
            if flag.rule.to is not None:
                self._tell(flag.rule, f"{self._pipeline}: {flag.text}", node=flag.node, **more)

    def _tell(self, rule: Alert, text: str, **more: Json) -> None:
        """Has a message sent, one for each task that a rule is about."""
        task = parts_of(more["node"])[0] if more.get("node") else ""
        if (id(rule), task) in self._told:
            return
        self._told.add((id(rule), task))
        run = self._began["run"]
        message = {
            "format": MESSAGE_VERSION,
            "text": f"{text} (run {run} on {self._began['host']})",
            "on": rule.on,
            "pipeline": self._pipeline,
            "run": run,
            "time": dt.datetime.now(dt.timezone.utc).isoformat(timespec="seconds"),
            "host": self._began["host"],
            "folder": str(self._folder),
            "state": "running",
            **{name: value for name, value in more.items() if value not in ("", None, {})},
        }
        self._sender.put((rule, message, Path(self._began["directory"])))

    def _usual(self, rule: Alert, task: str) -> Sequence[float]:
        if self._earlier is None:
            most = max(each.runs for each in self._rules)
            runs = StoredHistory(self._store).runs(self._pipeline)
            good = (run.folder for run in runs if run.state == "succeeded" and run.counts.get("succeeded"))
            self._earlier = Usual(islice(good, most))
        return self._earlier.values(rule.on, task, rule.runs)


def _first_line(text: str) -> str:
    return text.partition("\n")[0]
