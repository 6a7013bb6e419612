"""How large the workflow becomes that Kubeflow makes of a file, which a cluster keeps as one object.

Kubeflow's server writes what it gets into a workflow of Argo's: each container and its component once, as JSON in a
text, each task in the DAG around it and again in its driver's arguments. While the workflow runs, Argo adds its state,
compressed by gzip: three nodes a task, and in them four copies of the container, which goes into the driver, comes out
of it, and goes into both nodes of the executor. A run ends with an error where all that takes more than 1 MiB (Argo's
``MAX_WORKFLOW_SIZE``).
"""

from __future__ import annotations

import functools
import json
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

LIKELY_ITEMS = 100  # of a loop: the form of the harness is chosen for as many
LARGEST_WORKFLOW = 1_000_000  # bytes; what is left of the 1 MiB is for labels and defaults that a cluster adds

# Bytes of the workflow beside the texts that it is made of.
_EMPTY, _DAG, _LOOP, _DRIVER, _CONTAINER = 9_000, 250, 2_300, 900, 250

# Bytes of the state, compressed, fitted to workflows as Argo has them. Gzip finds again what is less than 32 kB back:
# of small containers the likes of all, of larger ones less and less, at last not even the copy in the same node.
_COPIES, _BASE64 = 4, 4 / 3
_NODES, _OWN = 350, 0.55  # of a task, and of each byte that is its own, among small containers
_MORE_NODES, _MORE_OWN, _LARGE = 1_300, 0.45, 24_000  # what is added among large ones
_AGAIN = 3.6 / 258  # of each byte that is found again
_FAR, _TOO_FAR, _APART = 30_000, 38_000, 2.5


@dataclass(frozen=True)
class Sizes:
    """What a pipeline takes without the harness, in bytes.

    ``spec`` is the workflow, ``own`` what all tasks have of their own in its state, ``large`` the compressed copies of
    what is no harness and yet too large to be found again. ``containers`` is how many there are, ``tasks`` how many
    times one of them is run.
    """

    spec: int
    own: int
    large: int
    containers: int
    tasks: int

    def with_harness(self, harness: str) -> int:
        """Bytes of all where each container holds this text, too."""
        own = self.own / (self.tasks or 1)
        crowd = min(1.0, (len(harness) + own) / _LARGE)
        lost = min(1.0, max(0.0, (len(harness) + _APART * own - _FAR) / (_TOO_FAR - _FAR)))
        each = _NODES + _MORE_NODES * crowd + (_OWN + _MORE_OWN * crowd) * own
        copy = lost * _compressed(harness) + (1 - lost) * len(harness) * _AGAIN
        state = self.tasks * (each + _COPIES * _BASE64 * copy) + _BASE64 * _compressed(harness) + self.large
        return round(self.spec + self.containers * _kept_harness(harness) + state)


def sizes_of(
    dags: Mapping[str, Mapping[str, Any]],
    containers: Mapping[str, Mapping[str, Any]],
    components: Mapping[str, Mapping[str, Any]],
    platform: Mapping[str, Any],
    items: int = 1,
) -> Sizes:
    """What a pipeline takes whose containers are without their harness yet, and whose loops have so many items.

    ``dags`` and ``components`` are by name, the pipeline's own first; ``containers`` and ``platform`` by the executor's
    label. An executor without a container is an importer.
    """
    spec, own, large, tasks = _EMPTY, 0, 0, 0
    texts: dict[str, str] = {}
    for place, dag in enumerate(dags.values()):
        times = items if place else 1
        spec += _DAG + _kept({**dag, "dag": {**dag["dag"], "tasks": {}}})
        for name, task in dag["dag"]["tasks"].items():
            text = _text(task)
            kept = _in_text(text)
            waits = sum(len(each) + len(r".Succeeded \u0026\u0026 ") for each in task.get("dependentTasks", ()))
            spec += len(name) + 6 + 2 * kept + waits  # in the DAG, and in its driver's arguments
            component = components[task["componentRef"]["name"]]
            if "dag" in component:
                spec += _LOOP + kept + 5 * len(name)
                continue
            label = component["executorLabel"]
            if label not in containers:  # an importer's: one pod of Kubeflow's own, which is told of the task
                spec += _CONTAINER + _kept(component)
                own += times * len(text)
                continue
            if label not in texts:
                spec += 2 * _CONTAINER + _kept(containers[label]) + _kept(component)
                texts[label] = _text(containers[label]) + _text(component)
            if label in platform:
                spec += _CONTAINER + _kept(platform[label])
            spec += _DRIVER + 6 * len(name)
            if len(texts[label]) > _TOO_FAR:
                large += times * round(_COPIES * _BASE64 * _compressed(texts[label]))
            else:
                own += times * len(texts[label])
            own += times * len(text)
            tasks += times
    return Sizes(spec, own, large, len(texts), tasks)


def _text(value: object) -> str:
    """JSON as Go writes it."""
    text = json.dumps(value, separators=(",", ":"), ensure_ascii=False)
    return text.replace("<", r"\u003c").replace(">", r"\u003e").replace("&", r"\u0026")


def _kept(value: object) -> int:
    """The bytes of a value as JSON that is a text in JSON."""
    return _in_text(_text(value))


def _in_text(text: str) -> int:
    return len(json.dumps(text, ensure_ascii=False).encode())


@functools.lru_cache
def _kept_harness(harness: str) -> int:
    return _kept(harness)


@functools.lru_cache
def _compressed(text: str) -> int:
    return len(zlib.compress(text.encode()))
