"""What a user can choose about what is emitted for Kubeflow."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from penstock.backend import Options


class KubeflowOptions(Options):
    """How to emit for Kubeflow.

    Args:
        base_image: runs the steps that ask for no image of their own; it must have Python 3.9 or newer as ``python3``.
        harness: ``text`` writes the harness as Python that can be read, ``packed`` compresses it. A run's state on the
            cluster holds it three times a task, which as text is too much for more than about a dozen tasks;
            ``auto`` packs it from there on.
        deadline_margin: the seconds that a pod may take beyond all attempts of its step, for pulling the image,
            installing packages and moving data.
        gpu_label: the node label that tells the type of a node's GPUs.
    """

    base_image: str = "python:3.12-slim"
    harness: Literal["auto", "text", "packed"] = "auto"
    deadline_margin: int = Field(default=3600, ge=0)
    gpu_label: str = "nvidia.com/gpu.product"
