"""The GitHub Actions target: a workflow with a job per step, and one program beside it that the jobs run."""

from penstock_backends.github.backend import GithubBackend
from penstock_backends.github.options import GithubOptions, Runner

__all__ = ["GithubBackend", "GithubOptions", "Runner"]
