"""What the documentation shows is true: its programs run, its commands and options exist, its links lead somewhere.

A Python block is a program, and is run (by pytest, where it has tests), unless it is a fragment: below the line
``<!-- fragment -->``, or with a part left out, written ``...``. A fragment must still be Python.
"""

import ast
import functools
import re
import shlex
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
import typer

from penstock import compiler
from penstock.cli import app
from tests.warm_python import python

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(
    r"^(?P<mark><!-- fragment -->\n+)?^```(?P<language>\w+)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL
)
LINK = re.compile(r"\[[^\]\n]+\]\((?P<target>[^)\s]+)\)")


@dataclass(frozen=True)
class Block:
    """A fenced block of a page; ``line`` is where it begins there."""

    page: Path
    line: int
    language: str
    text: str
    is_marked: bool

    @property
    def name(self) -> str:
        return f"{self.page.name}:{self.line}"


def blocks_of(page: Path) -> list[Block]:
    text = page.read_text(encoding="utf-8")
    return [
        Block(page, 1 + text.count("\n", 0, found.start()), found["language"], found["text"], bool(found["mark"]))
        for found in BLOCK.finditer(text)
    ]


BLOCKS = [block for page in PAGES for block in blocks_of(page)]


def is_fragment(block: Block) -> bool:
    if block.is_marked:
        return True
    return any(isinstance(node, ast.Constant) and node.value is ... for node in ast.walk(ast.parse(block.text)))


def of(language: str) -> list[object]:
    return [pytest.param(block, id=block.name) for block in BLOCKS if block.language == language]


def programs() -> list[object]:
    return [
        pytest.param(block, id=block.name) for block in BLOCKS if block.language == "python" and not is_fragment(block)
    ]


@pytest.mark.parametrize("block", of("python"))
def test_each_python_block_is_python(block):
    ast.parse(block.text)


@pytest.mark.slow
@pytest.mark.parametrize("block", programs())
def test_each_program_runs(block, tmp_path):
    file = tmp_path / "pipeline.py"
    file.write_text(block.text, encoding="utf-8")
    runner = ["-m", "pytest", "-q", "-p", "no:cacheprovider"] if "\ndef test_" in block.text else []
    done = python(tmp_path, *runner, file.name, warnings="error")
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("block", of("toml"))
def test_each_configuration_is_one_that_its_targets_take(block):
    own = tomllib.loads(block.text)["tool"]["penstock"]
    environments = own.pop("environments", {})
    for target, options in (each for tables in (own, *environments.values()) for each in tables.items()):
        if target == compiler.RUN:
            compiler.checked_run_options(options)
        elif target == compiler.DEPLOY:
            for name, chosen in options.items():
                compiler.backend(name).deploy_options.model_validate(chosen)
        else:
            compiler.parse_options(compiler.backend(target), options)


# --- commands ---------------------------------------------------------------------------------------------------------


@functools.cache
def commands() -> dict[str, dict[str, bool]]:
    """The options of each command, those of groups by both words, and whether they take a value."""
    top = typer.main.get_command(app).commands
    inner = {f"{name} {each}": command for name in top for each, command in getattr(top[name], "commands", {}).items()}
    return {
        name: {
            option: not each.is_flag
            for each in command.params
            if each.param_type_name == "option"
            for option in (*each.opts, *each.secondary_opts)
        }
        | {"--help": False}
        for name, command in {**top, **inner}.items()
    }


def command_lines() -> list[object]:
    found = []
    for block in BLOCKS:
        if block.language in ("console", "bash", "sh"):
            for number, line in enumerate(block.text.splitlines(), start=block.line + 1):
                command = line.removeprefix("$ ").removeprefix("python -m ")
                if command.startswith("penstock "):
                    found.append(pytest.param(command, id=f"{block.page.name}:{number}"))
    return found


@pytest.mark.parametrize("line", command_lines())
def test_each_command_line_names_a_command_and_options_that_exist(line):
    _, *words = shlex.split(line, comments=True)
    if words == ["--version"]:
        return
    name = words.pop(0)
    name = f"{name} {words.pop(0)}" if words and f"{name} {words[0]}" in commands() else name
    options = commands()[name]
    targets, given = [], []
    while words:
        word = words.pop(0)
        if word.startswith("-"):
            assert word in options, f"no option {word}"
            value = words.pop(0) if options[word] else ""
            if word == "--to" and value != "all":
                targets += value.split(",")
            if word == "--option":
                given.append(value.partition("=")[0])
    known = {name for target in targets for name in compiler.backend(target).options.model_fields}
    assert not set(given) - known, "no target named has such an option"


# --- links ------------------------------------------------------------------------------------------------------------


def links() -> list[object]:
    return [
        pytest.param(page, target, id=f"{page.name}:{number}")
        for page in PAGES
        for number, line in enumerate(page.read_text(encoding="utf-8").splitlines(), start=1)
        for target in LINK.findall(line)
        if "://" not in target
    ]


def anchors(page: Path) -> set[str]:
    """The fragments that GitHub gives a page's headings."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize(("page", "target"), links())
def test_each_link_within_the_project_leads_somewhere(page, target):
    path, _, anchor = target.partition("#")
    place = (page.parent / path).resolve() if path else page
    assert place.exists()
    assert place.is_relative_to(ROOT)
    if anchor:
        assert anchor in anchors(place)


def test_lines_of_the_pages_have_at_most_120_characters():
    long = [
        f"{page.name}:{number}"
        for page in (ROOT / "docs").glob("*.md")
        for number, line in enumerate(page.read_text(encoding="utf-8").splitlines(), start=1)
        if len(line) > 120 and not line.startswith(("|", "    "))
    ]
    assert long == []
