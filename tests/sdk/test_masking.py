"""What an attempt shows has `***` where the value of a secret would stand."""

from __future__ import annotations

import os
import subprocess
import sys
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock import harness
from penstock.harness import Mask

SECRET = 'pa"ss\\wörd 7'


def streamed(mask: Mask, parts: list[bytes]) -> bytes:
    """What comes out of `Mask.stream` where the parts go in one by one."""
    (reader, into), (out, target) = os.pipe(), os.pipe()
    thread = threading.Thread(target=lambda: (mask.stream(reader, target), os.close(target)))
    thread.start()
    for part in parts:
        os.write(into, part)
    os.close(into)
    with open(out, "rb") as stream:
        said = stream.read()
    thread.join()
    return said


@pytest.mark.parametrize(
    ("shown", "masked"),
    [
        (f"as it is: {SECRET}!", "as it is: ***!"),
        (f"in Python: {SECRET!r}", "in Python: '***'"),
        ('in JSON: {"key": "pa\\"ss\\\\w\\u00f6rd 7"}', 'in JSON: {"key": "***"}'),
        ("in a URL: db://me:pa%22ss%5Cw%C3%B6rd%207@host", "in a URL: db://me:***@host"),
        ("the half of it: pa and wörd 7", "the half of it: pa and wörd 7"),
    ],
)
def test_a_value_is_hidden_as_it_is_and_as_python_json_or_a_url_would_write_it(shown, masked):
    assert Mask([SECRET]).text(shown) == masked
    assert streamed(Mask([SECRET]), [shown.encode()]) == masked.encode()


def test_each_line_of_a_value_is_hidden_and_what_is_too_short_to_hide_is_not():
    mask = Mask(["-- begin --\r\nsecret line\nyes\n", "no"])
    assert mask.text("yes and no: secret line, -- begin --") == "yes and no: ***, ***"


def test_without_anything_to_hide_all_is_shown():
    assert Mask(["", "abc"]).text("abc") == "abc"
    assert streamed(Mask([]), [b"\xffabc"]) == b"\xffabc"


_LETTERS = st.text("ab", max_size=12)


@given(st.lists(st.text("ab", min_size=4, max_size=7), min_size=1, max_size=3), st.lists(_LETTERS, max_size=6))
def test_wherever_what_is_printed_is_cut_into_parts_no_secret_comes_through(secrets, parts):
    said = streamed(Mask(secrets), [part.encode() for part in parts]).decode()
    assert not any(secret in said for secret in secrets)
    whole = "".join(parts)
    assert any(secret in whole for secret in secrets) or said == whole


def test_the_end_of_what_is_printed_is_shown_though_a_secret_could_begin_with_it():
    assert streamed(Mask(["abcdef"]), [b"x abc", b"d"]) == b"x abcd"


PROGRAM = """
import os, subprocess, sys
from penstock import harness

def attempt(number):
    print("printed", os.environ["KEY"])
    subprocess.run([sys.executable, "-c", "import os; print('by a child', os.environ['KEY'], flush=True)"])
    os.write(2, b"on the other: s3")
    os.write(2, b"cret!")
    raise ValueError(f"refused: {os.environ['KEY']}")

print(harness.supervise(attempt, retry={"max_retries": 1}, secrets=["KEY"]))
"""


@pytest.mark.parametrize("one_place", [True, False])
def test_what_an_attempt_and_its_children_print_and_its_error_show_no_secret(one_place):
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT if one_place else subprocess.PIPE,
        env={**os.environ, "KEY": "s3cret!"},
        check=True,
        text=True,
    )
    said = done.stdout + (done.stderr or "")
    assert "s3cret" not in said
    shown = [
        "by a child ***\n",
        "printed ***\n",
        "on the other: ***",
        "ValueError: refused: ***",
        "{'error': 'ValueErr",
    ]
    assert all(each in said for each in shown), said
    assert said.count("printed ***") == 2


def test_an_output_that_holds_a_secret_fails_the_attempt_for_good(monkeypatch):
    monkeypatch.setenv("KEY", "s3cret!")
    result = harness.supervise(
        lambda number: {"outputs": {"output": {"dsn": ["db://s3cret!@host"]}}, "metrics": {}},
        retry={"max_retries": 3},
        secrets=["KEY"],
    )
    assert result["attempts"] == 1
    assert "what the step returns holds the value of a secret" in result["error"]


def test_metrics_and_verdicts_show_no_secret(monkeypatch):
    monkeypatch.setenv("KEY", "passed")
    result = harness.supervise(
        lambda number: {
            "outputs": {"output": 1},
            "metrics": {"of passed": 2.0},
            "gates": [{"gate": "x", "passed": True, "values": {"x": "passed"}, "message": "has passed"}],
        },
        secrets=["KEY"],
    )
    gate = {"gate": "x", "passed": True, "values": {"x": "***"}, "message": "has ***"}
    assert result == {"outputs": {"output": 1}, "metrics": {"of ***": 2.0}, "gates": [gate], "attempts": 1}


@pytest.mark.parametrize("given", [{}, {"KEY": ""}], ids=["missing", "empty"])
def test_without_its_secret_no_attempt_is_made(given, monkeypatch, capfd):
    monkeypatch.delenv("KEY", raising=False)
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    result = harness.supervise(lambda number: pytest.fail("it ran"), retry={"max_retries": 2}, secrets=["KEY"])
    assert result == {"error": "no value was given for the secret in KEY", "final": True, "attempts": 0}
    assert "no value was given for the secret in KEY" in capfd.readouterr().err


def test_a_step_that_is_stopped_has_shown_what_it_printed(tmp_path):
    program = f"""
import os, time
from penstock import harness

def attempt(number):
    print("at work with", os.environ["KEY"], end=" s3c", flush=True)
    time.sleep(0.3)  # until the process above this one waits for it
    open({str(tmp_path / "begun")!r}, "w").close()
    time.sleep(60)

harness.supervise(attempt, secrets=["KEY"])
"""
    with subprocess.Popen(
        [sys.executable, "-c", program],
        stdout=subprocess.PIPE,
        env={**os.environ, "KEY": "s3cret!", "TMPDIR": str(tmp_path)},
    ) as process:
        while not (tmp_path / "begun").exists():
            assert process.poll() is None
        process.terminate()
        said, _ = process.communicate(timeout=60)
    assert said == b"at work with *** s3c"
    assert process.returncode == 128 + 15
    assert list(tmp_path.glob("attempt-*")) == []
