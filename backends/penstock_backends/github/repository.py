"""The git repository that a workflow lives in: its files, written all together, and what they were at its commits."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import subprocess
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from penstock_backends import deploy_errors

_REMOTE = re.compile(r"(?:\w+://)?(?:[^@/]+@)?(?P<host>[^:/]+)(?::\d+)?[:/](?P<slug>[\w.-]+/[\w.-]+?)(?:\.git)?/?")


@dataclass(frozen=True)
class Commit:
    """A commit by its hash, and when it was made, in ISO 8601."""

    hash: str
    when: str


@dataclass(frozen=True)
class Repository:
    """A repository's work tree. Paths are relative to it, with ``/``."""

    root: Path

    def text(self, path: str) -> str | None:
        """A file's text with the line ends that it was written with; None where there is none."""
        try:
            return _plain(self._place(path).read_bytes())
        except FileNotFoundError:
            return None
        except OSError as error:
            raise deploy_errors.refused(path, error.strerror or error) from None

    def files(self, folder: str, ending: str) -> list[str]:
        """The files of a folder whose names end so, in order."""
        return [f"{folder}/{path.name}" for path in sorted((self.root / folder).glob(f"*{ending}"))]

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """One deployment at a time, as far as this machine knows."""
        lock = self.root / self._git("rev-parse", "--git-path", "penstock.lock").strip()
        with lock.open("w") as handle:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield

    def replace(self, texts: Mapping[str, str], stale: Collection[str] = ()) -> None:
        """Writes files, in their order, and removes stale ones.

        Whatever can be refused is tried before any of them is changed. Each is at any time the old one or the new one.
        """
        staged: list[tuple[Path, Path]] = []
        try:
            for path, text in texts.items():
                place = self._place(path)
                place.parent.mkdir(parents=True, exist_ok=True)
                beside = place.with_name(f".{place.name}.penstock")
                staged.append((beside, place))
                beside.write_text(text, encoding="utf-8", newline="\n")
            for beside, place in staged:
                beside.replace(place)
            for path in stale:
                self._place(path).unlink(missing_ok=True)
        except OSError as error:
            for beside, _ in staged:
                with contextlib.suppress(OSError):
                    beside.unlink(missing_ok=True)
            raise deploy_errors.refused(str(error.filename or self.root), error.strerror or error) from None

    def _place(self, path: str) -> Path:
        """Where a file stands. A link out of the repository is not followed: GitHub would not find what is behind."""
        place = self.root / path
        if not place.parent.resolve().is_relative_to(self.root.resolve()):
            raise deploy_errors.refused(path, "its folder is a link to outside of the repository")
        return place

    # --- what git knows

    def commits(self, path: str) -> list[Commit]:
        """The commits that changed a file, the newest first."""
        try:
            told = self._git("log", "--format=%H %cI", "--", path)
        except subprocess.CalledProcessError:  # a repository without a commit
            return []
        return [Commit(*line.split(" ", 1)) for line in told.splitlines()]

    def text_at(self, commit: Commit, path: str) -> str | None:
        """A file's text at a commit; None where there was none."""
        try:
            return self._git("show", f"{commit.hash}:{path}")
        except subprocess.CalledProcessError:
            return None

    def uncommitted(self, paths: Collection[str]) -> bool:
        """Whether any of these files is otherwise than in the last commit."""
        return bool(self._git("status", "--porcelain", "--ignored", "--", *paths))

    def ignored(self, paths: Collection[str]) -> list[str]:
        """Those of these files that git would not commit."""
        try:
            return self._git("check-ignore", "--", *paths).splitlines()
        except subprocess.CalledProcessError:  # none
            return []

    def remote(self) -> tuple[str, str]:
        """The host, and ``OWNER/NAME`` there, of what is called ``origin``; empty where there is none."""
        try:
            found = _REMOTE.fullmatch(self._git("remote", "get-url", "origin").strip())
        except subprocess.CalledProcessError:
            found = None
        return (found["host"], found["slug"]) if found else ("", "")

    def _git(self, *words: str) -> str:
        return _git(self.root, *words)


def repository_of(folder: str) -> Repository | None:
    """The repository that a folder is in; None where it is in none.

    Raises:
        DeployError: git is not installed, or refuses to look into the repository.
    """
    try:
        return Repository(Path(_git(Path(folder), "rev-parse", "--show-toplevel").rstrip("\n")))
    except NotADirectoryError:
        return None
    except subprocess.CalledProcessError as error:
        said = _plain(error.stderr).strip()
        if "not a git repository" in said:
            return None
        raise deploy_errors.refused(folder, said.partition("\n")[0], "see to what git says there") from None
    except FileNotFoundError as error:
        if error.filename == "git":
            raise deploy_errors.refused("GitHub", "git is not installed", "install it") from None
        return None


def _git(folder: Path, *words: str) -> str:
    environment = {**os.environ, "LC_ALL": "C", "GIT_OPTIONAL_LOCKS": "0"}
    done = subprocess.run(["git", *words], cwd=folder, env=environment, capture_output=True, check=True)
    return _plain(done.stdout)


def _plain(content: bytes) -> str:
    """Text without what a checkout may do to its line ends."""
    return content.decode("utf-8", "replace").replace("\r\n", "\n")
