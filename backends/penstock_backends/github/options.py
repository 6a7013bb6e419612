"""What can be configured about emitted workflows, and which runner a job gets."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from penstock.backend import Options
from penstock.spec import ResourcesSpec

GIB = 2**30


class Runner(BaseModel):
    """A kind of runner: what its jobs put into ``runs-on``, and what one of them may use.

    ``labels`` name it; ``cpu`` is in cores, ``memory_gib`` in GiB, ``gpu`` in devices of ``gpu_type``; ``minutes`` is
    how long a job may last there. The defaults are those of GitHub's standard Linux runner for public repositories.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    labels: tuple[str, ...] = Field(min_length=1)
    cpu: float = Field(default=4, gt=0)
    memory_gib: float = Field(default=16, gt=0)
    gpu: int = Field(default=0, ge=0)
    gpu_type: str = ""
    minutes: int = Field(default=360, gt=0)

    def fits(self, resources: ResourcesSpec | None, seconds: float) -> bool:
        """Whether a job that asks for ``resources`` and may last ``seconds`` can run here."""
        if seconds > self.minutes * 60:
            return False
        if resources is None:
            return True
        return (
            (resources.cpu or 0) <= self.cpu
            and (resources.memory or 0) <= self.memory_gib * GIB
            and resources.gpu <= self.gpu
            and (not resources.gpu or resources.gpu_type in ("", self.gpu_type))
        )


class GithubOptions(Options):
    """The options of the GitHub Actions target.

    Attributes:
        runs_on: the label, or labels, of the runner for all jobs that it is large enough for.
        runners: other runners, each with what it offers; a job that asks for more than ``runs_on`` has gets the first
            of these that is large enough.
        python_version: the Python of all jobs that have no image of their own.
        retention_days: how long GitHub keeps the outputs of steps; by default as long as it lets failed jobs be run
            again.
    """

    runs_on: str | tuple[str, ...] = "ubuntu-24.04"
    runners: tuple[Runner, ...] = ()
    python_version: str = "3.12"
    retention_days: int = Field(default=30, ge=1, le=90)

    def runner(self, resources: ResourcesSpec | None, seconds: float) -> Runner | None:
        """The first runner that fits; None where no configured one does."""
        labels = (self.runs_on,) if isinstance(self.runs_on, str) else self.runs_on
        return next((each for each in (Runner(labels=labels), *self.runners) if each.fits(resources, seconds)), None)
