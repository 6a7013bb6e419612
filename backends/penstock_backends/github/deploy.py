"""Workflows in the repository whose runs GitHub makes of them: written, compared, and put back to what was committed.

Beside the files stands a record of what was written (`record`). What differs from it, a person changed. Versions are
the records that were committed.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from penstock.backend import Files
from penstock.deployment import Deployed, StartedRun, Version
from penstock.diagnostics import DeployError
from penstock.spec import PipelineSpec
from penstock.values import Json
from penstock_backends import deploy_errors
from penstock_backends.github.deploy_options import GithubDeployOptions
from penstock_backends.github.names import job_id
from penstock_backends.github.record import Record, read_record, record_of
from penstock_backends.github.repository import Commit, Repository, repository_of
from penstock_backends.github.runs import Runs, runs_of

_FOLDER = ".github/penstock"
_WORKFLOWS = ".github/workflows"


def deployment_of(pipeline: PipelineSpec, options: GithubDeployOptions, source: Path | None = None) -> GithubDeployment:
    """The deployment of a pipeline, which a file defines. Raises `ConfigurationError` for no repository to take it."""
    found = repository_of(options.repository)
    if found is None:
        place = "the current directory" if options.repository == "." else options.repository
        example = 'repository = "path/to/a/git/repository"'
        raise deploy_errors.nowhere("github", "repository", example, because=f"{place} is in no git repository")
    return GithubDeployment(pipeline, options, found, _in_repository(found, source) or _in_its_root(pipeline))


def _in_repository(repository: Repository, source: Path | None) -> str:
    """Where in the repository a file stands, by which two of one name are told apart; empty if it is elsewhere."""
    root = repository.root.resolve()
    found = source.resolve() if source else root
    return found.relative_to(root).as_posix() if root in found.parents else ""


def _in_its_root(pipeline: PipelineSpec) -> str:
    return pipeline.span.file if pipeline.span else ""


class GithubDeployment:
    """One pipeline in one repository; see `penstock.deployment.Deployment`."""

    def __init__(
        self, pipeline: PipelineSpec, options: GithubDeployOptions, repository: Repository, source: str
    ) -> None:
        self._pipeline, self._options, self._repository, self._source = pipeline, options, repository, source
        self._kept = _record_path(pipeline.name)

    # --- comparing

    def differences(self, files: Files) -> Sequence[str]:
        """In what the work tree is not as `put` would make it."""
        return list(self._differences(self._record_of(files), files))

    def _differences(self, wanted: Record, files: Files) -> Iterator[str]:
        for path, text in files.items():
            there = self._repository.text(path)
            if there is None:
                yield f"{path} is not there"
            elif there != text:
                yield f"{path} {'is of another version' if self._was_deployed(path, there) else 'was changed by hand'}"
        yield from (f"{path} is left over" for path in self._left_over(files))
        if self._record() != wanted:
            is_there = self._repository.text(self._kept) is not None
            yield f"{self._kept}, which says what was deployed, is not {'of this version' if is_there else 'there'}"

    def _changed_by_hand(self, files: Files) -> list[str]:
        """What somebody's work may be in, of all that would be overwritten or removed."""
        there = {path: self._repository.text(path) for path in (*files, *self._left_over(files))}
        return [
            path
            for path, text in there.items()
            if text not in (None, files.get(path)) and not self._was_deployed(path, text or "")
        ]

    def _left_over(self, files: Files) -> list[str]:
        """What an earlier version had besides, and what the replaced pipelines have."""
        before = [path for record in self._records() for path in record.files if path not in files]
        return [path for path in (*before, *self._replaced()) if self._repository.text(path) is not None]

    def _was_deployed(self, path: str, text: str) -> bool:
        return path in self._replaced() or any(record.wrote(path, text) for record in self._records())

    # --- writing

    def put(self, files: Files, *, force: bool = False) -> Deployed:
        """Writes the files, and removes those that a former version, or a replaced pipeline, had besides."""
        with self._repository.locked():
            record = self._record_of(files)
            changed = any(self._differences(record, files))
            if changed:
                if not force:
                    self._refuse_to_replace_another()
                self._write(record, files, force=force)
        return self._deployed(record, changed=changed)

    def _refuse_to_replace_another(self) -> None:
        there = self._record()
        is_replaced = self._pipeline.name in self._options.replaces
        if there is not None and there.source != self._source and not is_replaced:
            raise deploy_errors.of_another(self._kept, there.source, self._pipeline.name)

    def _write(self, record: Record, files: Files, *, force: bool = False) -> None:
        """The program before the workflow that runs it, and the record last."""
        changed = [] if force else self._changed_by_hand(files)
        if changed:
            raise DeployError([each for path in changed for each in deploy_errors.changed_by_hand(path).diagnostics])
        in_order = dict(sorted(files.items(), key=lambda each: each[0].startswith(_WORKFLOWS)))
        self._repository.replace({**in_order, self._kept: record.to_json()}, self._left_over(files))

    def _deployed(self, record: Record, *, changed: bool) -> Deployed:
        places = (*record.files, self._kept)
        notes = [f"{path} is ignored by git: take it out of .gitignore" for path in self._repository.ignored(places)]
        notes += [
            f"`{name}` was deployed from {self._source}, too, which has no such name now: if this pipeline was "
            f"called so before, deploy it with `--option replaces={name}`"
            for name in self._forgotten()
        ]
        if self._repository.uncommitted((*places, _WORKFLOWS)):
            notes.append("commit and push it: GitHub runs what is on the default branch")
        return Deployed(record.version, places, changed, tuple(notes))

    def _forgotten(self) -> list[str]:
        """Pipelines that go on running though the file that they come from, this pipeline's, has no such name left."""
        text = self._repository.text(self._source) if self._source else None
        if text is None:
            return []
        kept = (path for path in self._repository.files(_FOLDER, ".json") if path != self._kept)
        records = (read_record(self._repository.text(path)) for path in kept)
        return [each.pipeline for each in records if each and each.source == self._source and each.pipeline not in text]

    # --- versions

    def versions(self) -> Sequence[Version]:
        """What is in the work tree, and what was committed before."""
        record, history = self._record(), self._history()
        found = {each.version: Version(each.version, each.spec, commit.when) for each, commit in reversed(history)}
        found = dict(reversed(found.items()))
        if record is None:
            return list(found.values())
        now = dt.datetime.now(dt.timezone.utc).isoformat(timespec="seconds")
        when = found.pop(record.version).when if record.version in found else now
        return [Version(record.version, record.spec, when, current=True), *found.values()]

    def roll_back(self, version: str = "") -> Deployed:
        """Writes what was committed as an earlier version; one is named by the beginning of its name."""
        current = self._record()
        for record, commit in self._history():
            if record.version.startswith(version) if version else current is None or record.version != current.version:
                return self._return_to(record, commit)
        known = ", ".join(each.name for each in self.versions())
        raise deploy_errors.no_version(self._pipeline.name, version, known)

    def _return_to(self, record: Record, commit: Commit) -> Deployed:
        texts = {path: self._repository.text_at(commit, path) for path in record.files}
        files = {path: text for path, text in texts.items() if text is not None and record.wrote(path, text)}
        if len(files) < len(texts):
            changed = ", ".join(path for path in texts if path not in files)
            raise deploy_errors.refused(f"version {record.version}", f"commit {commit.hash[:12]} has another {changed}")
        with self._repository.locked():
            changed_any = any(self._differences(record, files))
            if changed_any:
                self._write(record, files)
        return self._deployed(record, changed=changed_any)

    def _history(self) -> list[tuple[Record, Commit]]:
        """The records that were committed, the newest first."""
        commits = self._repository.commits(self._kept)
        found = ((read_record(self._repository.text_at(commit, self._kept)), commit) for commit in commits)
        return [(record, commit) for record, commit in found if record is not None]

    # --- running

    def require_server(self) -> None:
        """Raises `ConfigurationError` where no repository on GitHub is known, and `DeployError` without a token."""
        self._runs()

    def start(self, parameters: Mapping[str, Json]) -> StartedRun:
        """Starts the workflow, as GitHub has it, where that is what is deployed here."""
        record = self._record()
        if record is None:
            raise deploy_errors.refused(self._pipeline.name, "it is not deployed here", "deploy it first")
        return self._runs().start(self._pipeline, record, parameters)

    def follow(self, run: StartedRun, say: Callable[[str], None]) -> bool:
        """Waits until a run has ended, telling of each job as it starts and ends."""
        return self._runs().follow(run, say)

    def _runs(self) -> Runs:
        return runs_of(self._repository, self._options)

    # --- records

    def _record(self) -> Record | None:
        return read_record(self._repository.text(self._kept))

    def _records(self) -> list[Record]:
        """This pipeline's record and those of the pipelines that it replaces."""
        found = (read_record(self._repository.text(path)) for path in (self._kept, *self._replaced()))
        return [each for each in found if each is not None]

    def _replaced(self) -> list[str]:
        """Where the records of the pipelines that this one replaces stand."""
        return [_record_path(name) for name in self._options.replaces if name != self._pipeline.name]

    def _record_of(self, files: Files) -> Record:
        return record_of(self._pipeline.name, self._source, files)


def _record_path(pipeline: str) -> str:
    return f"{_FOLDER}/{job_id(pipeline)}.json"
