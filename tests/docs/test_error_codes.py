"""Every code that Penstock can raise is explained in docs/errors.md, and no other."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "errors.md").read_text(encoding="utf-8")
CODE = re.compile(r"P[1-8]\d\d")
SECTION = re.compile(r"^### (P\d{3}): .+\n((?:(?!^#{1,3} ).*\n)*)", re.MULTILINE)


def codes_in(source: str) -> Iterator[str]:
    """The codes that stand in a program as whole strings: those that it can raise."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and CODE.fullmatch(node.value):
            yield node.value


FILES = [*(ROOT / "sdk").rglob("*.py"), *(ROOT / "backends").rglob("*.py")]
RAISED = {file.relative_to(ROOT).as_posix(): set(codes_in(file.read_text(encoding="utf-8"))) for file in sorted(FILES)}
SHARED = {
    "P103": "a function is looked up in `functions`, a class that a step needs in `closures`: neither has its source",
    "P309": "what an engine would take for another thing is seen by `control` in statements, else in `operations`",
    "P315": "what changes in a block is seen by `control` where it is written, and by `watches` in the values",
    "P310": "what has no counterpart is seen in the syntax by `rewriting` and `jumps`, or in the values by `control`",
}


def raised() -> set[str]:
    return set().union(*RAISED.values())


SECTIONS = SECTION.findall(PAGE)


def test_every_code_that_can_be_raised_is_explained():
    assert sorted(raised() - {code for code, _ in SECTIONS}) == []


def test_no_code_is_explained_that_nothing_raises():
    assert sorted({code for code, _ in SECTIONS} - raised()) == []


def test_a_code_means_one_thing_so_one_module_raises_it():
    raising = {code: [file for file, codes in RAISED.items() if code in codes] for code in raised()}
    shared = {code for code, files in raising.items() if len(files) > 1}
    assert {code: raising[code] for code in shared - SHARED.keys()} == {}
    assert SHARED.keys() - shared == set(), "no longer shared: take it off the list"


def test_codes_stand_once_and_in_order():
    codes = [code for code, _ in SECTIONS]
    assert codes == sorted(set(codes))


@pytest.mark.parametrize(("code", "text"), SECTIONS, ids=[code for code, _ in SECTIONS])
def test_each_section_shows_a_message_and_says_cause_and_fix(code, text):
    assert re.search(rf"^    {code}: \S", text, re.MULTILINE), "an example of the message, indented"
    assert re.search(r"^Cause: \S", text, re.MULTILINE)
    assert re.search(r"^Fix: \S", text, re.MULTILINE)


def test_a_code_is_found_only_where_it_is_a_whole_string():
    assert list(codes_in('raise E("P101", "see P102")  # P103\nx = "P999"')) == ["P101"]
