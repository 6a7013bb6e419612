"""A step finds its secrets in its environment; nothing else does, and nothing keeps or shows them."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from penstock import CompileError, ConfigurationError, Retry, RunError, log_metadata, log_metric, pipeline, step

SECRET = "s3cret & word"
KEY = {"warehouse/key": SECRET}


@step(secrets={"KEY": "warehouse/key"})
def connect(where: str) -> str:
    print("connecting with", os.environ["KEY"])
    log_metadata(dsn=f"db://me:{os.environ['KEY']}@host", **{os.environ["KEY"]: [1]})
    subprocess.run([sys.executable, "-c", "import os; print('a child has', os.environ['KEY'])"], check=True)
    return hashlib.sha256(os.environ["KEY"].encode()).hexdigest() + where


@step
def look(before: str) -> bool:
    return "KEY" in os.environ


@step(secrets={"KEY": "warehouse/key"}, retry=Retry(1))
def fail() -> int:
    log_metric(f"of {os.environ['KEY']}", 1)
    raise ConnectionError(f"refused: db://me:{os.environ['KEY']}@host")


@step(secrets={"KEY": "warehouse/key"})
def leak() -> list[str]:
    return [f"the key is {os.environ['KEY']}"]


@pipeline
def connected(where: str = "!") -> tuple[str, bool]:
    found = connect(where)
    return found, look(found)


@pipeline
def failing() -> int:
    return fail()


@pipeline
def leaking() -> list[str]:
    return leak()


@pytest.fixture(autouse=True)
def _without_variable(monkeypatch):
    monkeypatch.delenv("KEY", raising=False)


def everything_below(folder: Path) -> bytes:
    return b"".join(file.read_bytes() for file in folder.rglob("*") if file.is_file())


@pytest.mark.parametrize("inline", [True, False])
def test_a_step_is_given_its_secret_another_one_is_not_and_nothing_shows_or_keeps_it(
    inline, tmp_path, capfd, monkeypatch
):
    monkeypatch.setenv("KEY", SECRET)
    run = connected.run(store=tmp_path / "store", inline=inline)
    assert run.outputs == (hashlib.sha256(SECRET.encode()).hexdigest() + "!", False)
    log = run["connect"].log.read_text() if not inline else capfd.readouterr().out
    assert "connecting with ***\n" in log
    assert inline or "a child has ***\n" in log
    assert run["connect"].metadata == {"output": {"dsn": "db://me:***@host", "***": [1]}}
    assert SECRET.encode() not in everything_below(tmp_path)
    assert os.environ["KEY"] == SECRET


@pytest.mark.parametrize("inline", [True, False])
def test_a_failure_is_told_without_the_secret(inline, tmp_path):
    events: list[object] = []
    run = failing.run(store=tmp_path, inline=inline, secrets=KEY, on_event=events.append)
    assert run["fail"].attempts == 2
    assert run["fail"].error == "ConnectionError: refused: db://me:***@host"
    assert "db://me:***@host" in run["fail"].traceback
    assert SECRET not in repr(events)
    assert SECRET.encode() not in everything_below(tmp_path)


@pytest.mark.parametrize("inline", [True, False])
def test_a_result_that_holds_a_secret_is_not_kept(inline, tmp_path):
    run = leaking.run(store=tmp_path, inline=inline, secrets=KEY)
    assert "what the step returns holds the value of a secret" in run["leak"].error
    assert SECRET.encode() not in everything_below(tmp_path)


def test_the_cache_goes_by_the_reference_and_not_by_the_value(penstock_run):
    penstock_run(connected, cache=True, secrets=KEY)
    assert penstock_run(connected, cache=True, secrets={"warehouse/key": "another"}).states["connect"] == "cached"


@pytest.mark.parametrize(
    ("source", "value"),
    [
        ('{ env = "ELSEWHERE" }', "elsewhere!"),
        ('{ file = "key.txt" }', "from a file"),
        ('{ command = ["printf", "%s\\n", "printed"] }', "printed"),
    ],
    ids=["env", "file", "command"],
)
def test_the_project_says_where_a_secret_is(source, value, tmp_path, monkeypatch):
    monkeypatch.setenv("ELSEWHERE", "elsewhere!")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "key.txt").write_text("from a file\r\n")
    (tmp_path / "pyproject.toml").write_text(f'[tool.penstock.run.secrets]\n"warehouse/key" = {source}\n')
    (tmp_path / "program.py").write_text(
        "import os\nfrom penstock import pipeline, step\n\n\n"
        '@step(secrets={"KEY": "warehouse/key"})\ndef has() -> tuple[bool, bool]:\n'
        f'    return os.environ["KEY"] == {value!r}, "ELSEWHERE" in os.environ\n\n\n'
        "@pipeline\ndef asking() -> tuple[bool, bool]:\n    return has()\n\n\n"
        'if __name__ == "__main__":\n    print(asking.run(store="store", max_workers=1).outputs)\n'
    )
    done = subprocess.run([sys.executable, "program.py"], capture_output=True, text=True, check=True)
    assert done.stdout == f"(True, {source.count('ELSEWHERE') == 0 and 'ELSEWHERE' in os.environ})\n"


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        (None, "the environment variable KEY is missing or empty"),
        ({"env": "NOWHERE"}, "the environment variable NOWHERE is missing or empty"),
        ({"file": "nowhere.txt"}, "the file nowhere.txt cannot be read: No such file or directory"),
        ({"command": ["false"]}, "`false` ended with exit code 1"),
        ({"command": ["no-such-program"]}, "`no-such-program` cannot be started: No such file or directory"),
        ("", "what was given is missing or empty"),
        ("a\0b", "what was given holds a NUL"),
    ],
)
def test_a_secret_without_a_value_is_refused_before_anything_runs(source, reason, tmp_path):
    with pytest.raises(RunError, match="P614") as caught:
        connected.run(store=tmp_path / "store", secrets={} if source is None else {"warehouse/key": source})
    assert reason in str(caught.value)
    assert ("set KEY in the environment" if source is None else "see to that") in str(caught.value)
    assert "found = connect(where)" in str(caught.value)
    assert not (tmp_path / "store").exists()


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (f'"warehouse/key" = "{SECRET}"', "a secret does not belong into this file"),
        (f'"warehouse/key" = {{ value = "{SECRET}" }}', "a secret does not belong into this file"),
        (f'"warehouse/key" = {{ fil = "{SECRET}" }}', "no option `fil`"),
        (f'"warehouse/key" = {{ env = "A", file = "{SECRET}" }}', "one of `env`, `file` and `command`"),
    ],
)
def test_a_value_in_the_projects_file_is_refused_and_not_shown(line, said, tmp_path, monkeypatch):
    from penstock import compiler

    (tmp_path / "pyproject.toml").write_text(f"[tool.penstock.run.secrets]\n{line}\n")
    with pytest.raises(ConfigurationError, match=said) as caught:
        compiler.history(tmp_path)
    assert "pyproject.toml:2" in str(caught.value)
    assert SECRET not in str(caught.value)


def test_a_secret_that_is_given_under_a_like_name_is_told(tmp_path):
    with pytest.raises(RunError, match="call it `warehouse/key` where it is given as `warehouse/kee`"):
        connected.run(store=tmp_path / "store", secrets={"warehouse/kee": SECRET})


def test_in_a_test_secrets_are_given_or_their_step_is_faked(penstock_run):
    assert penstock_run(connected, secrets=KEY).states == {"connect": "succeeded", "look": "succeeded"}
    assert penstock_run(connected, fakes={connect: "x"}).outputs == ("x", False)
    with pytest.raises(RunError, match="P614"):
        penstock_run(connected)


@pipeline
def ambiguous() -> tuple[str, str]:
    return connect("a"), connect.with_options(secrets={"KEY": "other/key"})("b")


def test_one_variable_for_two_secrets_is_refused_unless_they_can_be_told_apart(tmp_path):
    with pytest.raises(CompileError, match="P550"):
        ambiguous.compile("local")
    with pytest.raises(RunError, match="P550"):
        ambiguous.run(store=tmp_path)
    first, second = ambiguous.run(store=tmp_path, secrets={**KEY, "other/key": "another"}).outputs
    assert first[:-1] == hashlib.sha256(SECRET.encode()).hexdigest()
    assert second[:-1] == hashlib.sha256(b"another").hexdigest()


@pipeline
def branching(where: str = "!") -> tuple[str, bool]:
    found = connect(where) if where == "!" else "nowhere"
    return found, look(found)


@pytest.mark.slow
@pytest.mark.parametrize("made", [connected, branching, failing], ids=lambda made: made.name)
def test_the_emitted_file_takes_secrets_from_its_environment_and_hides_them(made, tmp_path):
    (name, text), *_ = made.compile("local").items()
    (tmp_path / name).write_text(text)
    environ = {each: value for each, value in os.environ.items() if each != "KEY"}

    def ran(**more: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, name, "--json"]
        return subprocess.run(
            command, cwd=tmp_path, env={**environ, **more}, text=True, capture_output=True, check=False
        )

    refused = ran()
    assert (refused.returncode, refused.stdout) == (2, "")
    assert "no value was given for the secret in KEY (warehouse/key)" in refused.stderr
    assert "It takes secrets from its environment, and starts nothing without them:\n\n    KEY: warehouse/key\n" in text
    done = ran(KEY=SECRET)
    said = json.loads(done.stdout)
    assert SECRET not in done.stdout + done.stderr
    assert SECRET.encode() not in everything_below(tmp_path)
    if made is failing:
        assert b"db://me:***@host" in everything_below(tmp_path)
    else:
        assert said["result"] == {"$tuple": [hashlib.sha256(SECRET.encode()).hexdigest() + "!", False]}
        assert b"connecting with ***\na child has ***\n" in everything_below(tmp_path)


@step(secrets={"KEY": "warehouse/key"}, timeout=0.5)
def hang(pids: str) -> None:
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], start_new_session=True)
    Path(pids).write_text(f"{os.getpid()} {child.pid}")
    print("hanging with", os.environ["KEY"], flush=True)
    time.sleep(60)


@step(secrets={"KEY": "warehouse/key"})
def die() -> None:
    print("dying with", os.environ["KEY"], flush=True)
    os.kill(os.getpid(), signal.SIGKILL)


@pipeline
def ending(pids: str) -> None:
    hang(pids)
    die()


def test_attempts_with_secrets_end_as_others_do_with_all_that_they_have_started(tmp_path, monkeypatch):
    (tmp_path / "temporary").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "temporary"))
    run = ending.run(pids=str(tmp_path / "pids"), store=tmp_path / "store", secrets=KEY)
    assert "exceeded its timeout of 0.5 s" in run["hang"].error
    assert "killed by SIGKILL" in run["die"].error
    assert run["hang"].log.read_text().startswith("hanging with ***\n")
    assert run["die"].log.read_text().startswith("dying with ***\n")
    assert not [pid for pid in (tmp_path / "pids").read_text().split() if Path(f"/proc/{pid}").exists()]
    assert list((tmp_path / "temporary").iterdir()) == []
