"""What an author is shown of an error: the frames that are the author's, and no others."""

import re
import sys

import pytest

from penstock import harness

INNER = "try:\n    y = 1 / 0\nexcept ZeroDivisionError as error:\n    raise ValueError('no y') from error\n"


@pytest.fixture
def program(monkeypatch):
    monkeypatch.setattr(sys, "meta_path", [*sys.meta_path])
    monkeypatch.setattr(sys, "modules", dict(sys.modules))
    modules = {"outer": "import middle\nx = middle.y\n", "middle": "import inner\ny = inner.y\n", "inner": INNER}
    harness.Program(modules, {"outer": ["middle", "x"], "middle": ["inner", "y"], "inner": ["y"]}).install()


def explained(action):
    with pytest.raises(Exception) as caught:  # noqa: PT011  # each test says which
        action()
    return harness.explain(caught.value)


def frames(text):
    return [file for file in re.findall(r'File "(.+?)"', text) if file != __file__]


def test_an_error_while_the_program_is_imported_shows_the_imports_and_not_what_carries_them_out(program):
    text = explained(lambda: harness.find_type("outer:x"))
    assert frames(text) == ["<inner>", "<outer>", "<middle>", "<inner>"], "the cause first, then the error"
    assert text.endswith("ValueError: no y")
    assert "ZeroDivisionError" in text


def test_an_error_while_an_input_is_decoded_shows_the_authors_class_alone():
    class Net:
        def __setstate__(self, state):
            raise ValueError("bad state")

    wire = {"$pydantic": ["m:Net", {"fields": {}, "set": [], "extra": None, "private": None}]}
    text = explained(lambda: harness.decode(wire, lambda name: Net))
    assert frames(text) == []
    assert "in __setstate__" in text
    assert text.endswith("ValueError: bad state")


def test_a_call_of_penstock_that_fails_ends_at_the_authors_line():
    text = explained(lambda: harness.log_metric("rows", "many"))
    assert harness.__file__ not in text
    assert 'harness.log_metric("rows", "many")' in text


def test_where_no_frame_is_the_authors_all_are_shown():
    try:
        harness.retry_delay({"delay": "long"}, 1)
    except TypeError as error:
        text = harness.explain(error.with_traceback(error.__traceback__.tb_next))
    assert harness.__file__ in text


def test_what_went_wrong_around_the_authors_code_is_its_message():
    text = explained(lambda: harness.decode({"$unheard": 1}))
    assert text == 'error: not a value that Penstock wrote: {"$unheard": 1}'


def output(*path):
    return {
        "kind": "output",
        "node": "words",
        "output": "output",
        "path": [{"kind": "item", "key": key} for key in path],
    }


@pytest.mark.parametrize(
    ("binding", "said"),
    [
        (output(1), "IndexError: list index out of range"),
        (
            {"kind": "operation", "operator": "<", "operands": [output(), {"kind": "literal", "value": 1}]},
            "TypeError: '<' not supported between instances of 'list' and 'int'",
        ),
        (
            {"kind": "operation", "operator": "in", "operands": [output(), {"kind": "literal", "value": 1}]},
            "TypeError: argument of type 'int' is not iterable",
        ),
    ],
)
def test_what_cannot_be_computed_is_told_without_how_it_was_tried(binding, said):
    inputs = harness.Inputs({}, {}, {"words": {"output": ["a"]}})
    job = {"arguments": {"result": binding}, "outputs": [], "returns": {"kind": "none"}}
    with pytest.raises((IndexError, TypeError)) as caught:
        harness.perform(job, harness.give, inputs, None)
    own_frame = caught.value.__traceback__.tb_next
    assert harness.explain(caught.value.with_traceback(own_frame)) == said
