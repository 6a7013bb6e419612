"""Runs pipeline YAML on real Kubeflow code: kfp.local's SubprocessRunner, and the server's own message types."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.engines.environments import HERE, environment
from tests.engines.jobs import carry_out
from tests.engines.processes import Helper, bare_environment

PROGRAM = HERE / "programs" / "kfp_local.py"


@dataclass(frozen=True)
class Execution:
    """One task that kfp.local executed. ``state`` is "success", "failure", or "error" where kfp itself gave up.

    ``place`` holds the number of the item that it ran for in each loop around it, outermost first. ``outputs`` holds a
    parameter's value, or an artifact as ``{"artifact": TYPE, "name", "uri", "path", "metadata"}``.
    """

    task: str
    state: str
    attempts: int
    outputs: dict[str, Any]
    place: tuple[int, ...] = ()


@dataclass(frozen=True)
class KfpRun:
    """What kfp.local did with a pipeline.

    ``state`` is "success" or "failed" (``error`` names the task), empty where kfp.local could not run it (``crash``
    says why). ``outputs`` are the pipeline's own. Tasks that never started are in no execution. A loop's tasks occur
    once an item.
    """

    state: str
    outputs: dict[str, Any]
    executions: tuple[Execution, ...]
    error: str
    crash: str
    log: str
    seconds: float = field(compare=False)

    @property
    def tasks(self) -> dict[str, str]:
        """The state of each task by its name; in a loop, "failure" where any item's failed."""
        ordered = sorted(self.executions, key=lambda each: each.state != "success")
        return {each.task: each.state for each in ordered}


@dataclass(frozen=True)
class Kfp:
    """kfp in an environment of its own. Get it by `kfp`, so that all tests of a process share its warm helper."""

    helper: Helper

    def run(
        self,
        text: str,
        arguments: Mapping[str, Any] | None = None,
        *,
        folder: Path,
        environ: Mapping[str, str] | None = None,
        seconds: float = 120,
    ) -> KfpRun:
        """Run the YAML with these arguments, each step as a process of the environment's Python, without Docker.

        ``folder`` is private to the run (pytest's ``tmp_path``): artifacts stay there, under the paths that the outputs
        name. A step's program decides the time: the run itself adds some 20 ms a task.
        """
        job = folder / "kfp"
        job.mkdir()
        outcome = carry_out(self.helper, job, seconds, environ, text=text, arguments=dict(arguments or {}))
        return KfpRun(
            state=outcome.seen.get("state", ""),
            outputs=outcome.seen.get("outputs", {}),
            executions=tuple(
                Execution(**{**each, "place": tuple(each["place"])}) for each in outcome.seen.get("executions", ())
            ),
            error=outcome.seen.get("error", ""),
            crash=outcome.crash,
            log=outcome.log,
            seconds=outcome.seconds,
        )

    def problems(self, text: str, *, folder: Path) -> list[str]:
        """Where the YAML is not what the server takes: unknown fields, wrong types, in either document.

        The first document is read as a PipelineSpec with its deployment, the second as the Kubernetes settings of
        executors, and kfp must load both.
        """
        job = folder / "kfp-parse"
        job.mkdir()
        outcome = carry_out(self.helper, job, 60, None, text=text, arguments=None)
        return [outcome.crash] if outcome.crash else list(outcome.seen["problems"])

    def compiled(self, module: Path, *, folder: Path) -> dict[str, str]:
        """What kfp's own compiler makes of each of the ``PIPELINES`` in a file that imports kfp."""
        return self._carried_out(folder, module=str(module))["texts"]

    def messages(self, texts: Mapping[str, str], *, folder: Path) -> dict[str, tuple[dict[str, Any], dict[str, Any]]]:
        """Each YAML as the server's own message types have it: the pipeline, and the pod settings of its executors."""
        found = self._carried_out(folder, texts=dict(texts))["documents"]
        return {name: (pipeline, platform) for name, (pipeline, platform) in found.items()}

    def problems_of_exchanges(self, exchanges: Sequence[Mapping[str, Any]], *, folder: Path) -> list[str]:
        """In what requests and answers are not what the server's published API has, as kfp's own client knows it.

        Each is its ``method``, ``path``, ``query`` and ``body`` (a form: a dict of texts), with ``status`` and
        ``answer``.
        """
        return list(self._carried_out(folder, exchanges=list(exchanges))["problems"])

    def seen_by_client(self, host: str, name: str, *, folder: Path) -> dict[str, Any]:
        """What kfp's own client finds of the pipeline of this name at a server."""
        return dict(self._carried_out(folder, host=host, name=name)["seen"])

    def _carried_out(self, folder: Path, **question: Any) -> dict[str, Any]:
        folder.mkdir()
        outcome = carry_out(self.helper, folder, 60, None, **question)
        assert not outcome.crash, f"{outcome.crash}\n{outcome.log}"
        return outcome.seen


@functools.cache
def kfp() -> Kfp:
    """The driver, warm from its first use on; skips where kfp is not installed."""
    home = environment("kfp")
    return Kfp(Helper([home.python, PROGRAM], bare_environment()))
