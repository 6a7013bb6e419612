"""Where and how workflows are deployed."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from penstock.deployment import Address, DeployOptions, Names
from penstock.rejections import text_like


class GithubDeployOptions(DeployOptions):
    """The options of deploying to GitHub.

    Attributes:
        repository: a folder in the git repository that the files are written into; by default the one that the current
            directory is in.
        replaces: the pipelines whose files are taken away, such as this one under an earlier name.
        github: the repository on GitHub, ``OWNER/NAME``; by default ``$GITHUB_REPOSITORY``, else where ``origin`` is.
        server: the address of GitHub's API; by default ``$GITHUB_API_URL``, else that of where ``origin`` is.
        ref: the branch or tag whose workflow is started; by default GitHub's default branch.
        poll_seconds: how long to wait before asking again how a run goes.
    """

    repository: str = "."
    replaces: Names = ()
    github: Annotated[str, text_like(r"([\w.-]+/[\w.-]+)?", "the repository's owner and name, `OWNER/NAME`")] = ""
    server: Address = ""
    ref: str = ""
    poll_seconds: float = Field(default=10, gt=0)
