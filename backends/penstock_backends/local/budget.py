"""What attempts ask for, and what those that run at one time may take together."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from penstock.settings import size_text
from penstock.spec import Settings

ROUNDING = 1e-9  # fractions of cores do not add up exactly
VISIBLE_DEVICES = "CUDA_VISIBLE_DEVICES"


@dataclass(frozen=True)
class Request:
    """What one attempt takes while it runs: ``cpu`` in cores, ``memory`` in bytes, ``gpu`` in devices."""

    cpu: float = 0.0
    memory: int = 0
    gpu: int = 0
    quotas: tuple[tuple[str, int], ...] = ()


def request_of(settings: Settings) -> Request:
    """What settings ask for."""
    asked = settings.resources
    if asked is None:
        return Request(quotas=settings.quotas)
    return Request(asked.cpu or 0.0, asked.memory or 0, asked.gpu, settings.quotas)


@dataclass(frozen=True)
class Budget:
    """What all attempts may take together, or what is left of that; a quota that is not named is 0."""

    cpu: float
    memory: int
    gpu: int
    quotas: Mapping[str, int] = field(default_factory=dict)

    def holds(self, asked: Request) -> bool:
        """Whether there is room for what one attempt asks for."""
        return (
            asked.cpu <= self.cpu + ROUNDING
            and asked.memory <= self.memory
            and asked.gpu <= self.gpu
            and all(amount <= self.quotas.get(name, 0) for name, amount in asked.quotas)
        )

    def lacks(self, asked: Request) -> list[str]:
        """What of a request exceeds all that there is, in words."""
        said = []
        if asked.cpu > self.cpu + ROUNDING:
            said.append(f"{asked.cpu:g} cores of {self.cpu:g}")
        if asked.memory > self.memory:
            said.append(f"{size_text(asked.memory)} of memory of {size_text(self.memory)}")
        if asked.gpu > self.gpu:
            said.append(f"{asked.gpu} GPUs of {self.gpu}")
        for name, amount in asked.quotas:
            if amount > self.quotas.get(name, 0):
                said.append(f"{amount} of the quota `{name}` of {self.quotas.get(name, 0)}")
        return said

    def less(self, asked: Request) -> Budget:
        """What is left when an attempt takes what it asks for."""
        return self._changed(asked, -1)

    def plus(self, asked: Request) -> Budget:
        """What is left when an attempt gives it back."""
        return self._changed(asked, 1)

    def _changed(self, asked: Request, sign: int) -> Budget:
        if not (asked.cpu or asked.memory or asked.gpu or asked.quotas):
            return self
        quotas = dict(self.quotas)
        for name, amount in asked.quotas:
            quotas[name] = quotas.get(name, 0) + sign * amount
        return Budget(
            self.cpu + sign * asked.cpu, self.memory + sign * asked.memory, self.gpu + sign * asked.gpu, quotas
        )


def machine() -> Budget:
    """What this machine has, as far as this process may use it."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return Budget(float(cores), memory, len(_visible_devices()))


def devices(count: int) -> tuple[str, ...]:
    """The names of so many GPUs: those that this process may see, as far as there are so many, else by number."""
    visible = _visible_devices()
    return visible[:count] if count <= len(visible) else tuple(map(str, range(count)))


def _visible_devices() -> tuple[str, ...]:
    given = os.environ.get(VISIBLE_DEVICES)
    if given is not None:
        return tuple(filter(None, map(str.strip, given.split(","))))
    return tuple(str(number) for number, _ in enumerate(Path("/dev").glob("nvidia[0-9]*")))
