"""What attempts use of this machine: CPU time, and memory at its largest. As JSON it has the fields of `Usage`."""

from __future__ import annotations

import resource
import sys

from penstock_backends.local.objects import Json

_UNIT = 1 if sys.platform == "darwin" else 1024


def together(one: Json, other: Json) -> Json:
    """What two attempts used, one after the other. What is known of one of them only is what is known."""
    cpu = [each["cpu_seconds"] for each in (one, other) if each.get("cpu_seconds") is not None]
    memory = [each["peak_memory"] for each in (one, other) if each.get("peak_memory") is not None]
    return {
        **({"cpu_seconds": round(sum(cpu), 6)} if cpu else {}),
        **({"peak_memory": max(memory)} if memory else {}),
    }


class Meter:
    """Measures what this process uses from now on, with its children that end meanwhile."""

    def __init__(self) -> None:
        self._cpu, self._peak = _measured()

    def usage(self) -> Json:
        """What was used. The peak is told where it is this process's highest yet: of a lower one nothing is known."""
        cpu, peak = _measured()
        return {
            "cpu_seconds": round(cpu - self._cpu, 6),
            **({"peak_memory": peak} if peak > self._peak else {}),
        }


def _measured() -> tuple[float, int]:
    """CPU time in seconds, and the largest memory of one process in bytes, children that have ended included."""
    both = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in both), max(each.ru_maxrss for each in both) * _UNIT
