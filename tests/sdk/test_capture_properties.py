"""Random little programs answer the same captured as they do where they were written."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from penstock.capture import capture
from tests.sdk.capturing import Project, execute, program


@dataclass
class _Writer:
    """A module being written: each statement uses names from above, of its own or of modules before it."""

    name: str
    lines: list[str] = field(default_factory=list)
    constants: list[str] = field(default_factory=list)
    functions: list[str] = field(default_factory=list)
    tables: list[str] = field(default_factory=list)


@st.composite
def programs(draw: st.DrawFn) -> dict[str, str]:
    """Modules by name; `pipeline` has a step `train` without parameters."""
    written: list[_Writer] = []
    for name in ("alpha", "pkg.beta", "pkg", "pipeline"):
        writer = _Writer(name)
        for other in written:
            _write_import(draw, writer, other)
        for number in range(draw(st.integers(1, 7))):
            _write_statement(draw, writer, f"{name[-2:]}{number}")
        written.append(writer)
    last = written[-1]
    values = [_value(draw, last) for _ in range(draw(st.integers(1, 4)))]
    last.lines.append(f"def train():\n    return [{', '.join(values)}]")
    return {each.name: "\n".join(each.lines) + "\n" for each in written}


def _write_import(draw: st.DrawFn, writer: _Writer, other: _Writer) -> None:
    parts = {"functions": other.functions, "constants": other.constants, "tables": other.tables}
    own = {key: [name for name in names if "." not in name and "(" not in name] for key, names in parts.items()}
    style = draw(st.sampled_from(["module", "alias", "names", "renamed", "star", "none"]))
    if style in ("module", "alias"):
        prefix = other.name if style == "module" else f"m_{other.name.replace('.', '_')}"
        writer.lines.append(f"import {other.name}" + (f" as {prefix}" if style == "alias" else ""))
        given_names = {key: [f"{prefix}.{name}" for name in names] for key, names in own.items()}
    elif style == "none" or not any(own.values()):
        return
    elif style == "star":
        writer.lines.append(f"from {other.name} import *")
        given_names = own
    else:
        suffix = "_" + writer.name[:2] if style == "renamed" else ""
        listed = [f"{name} as {name}{suffix}" if suffix else name for names in own.values() for name in names]
        writer.lines.append(f"from {other.name} import ({', '.join(listed)})  # {style}")
        given_names = {key: [name + suffix for name in names] for key, names in own.items()}
    for key, names in given_names.items():
        getattr(writer, key).extend(names)


def _value(draw: st.DrawFn, writer: _Writer) -> str:
    choices = ["1", "2.5", "'text'"]
    choices += writer.constants
    choices += [f"{name}({draw(st.integers(0, 3))})" for name in writer.functions]
    choices += [f"sorted({name}.items(), key=repr)" for name in writer.tables]
    return draw(st.sampled_from(choices[-8:]))


def _write_statement(draw: st.DrawFn, writer: _Writer, name: str) -> None:
    kind = draw(st.sampled_from(["constant", "function", "table", "change", "loop", "class", "if", "wrapped", "noise"]))
    value, other = _value(draw, writer), _value(draw, writer)
    if draw(st.booleans()):
        writer.lines.append(f"\n# about {name}")
    if kind == "constant":
        writer.lines.append(f'{name} = repr([{value}, """ü\n  "{name}\\n" """])[-60:]; {name}_also = {name}')
        writer.constants += [name, f"{name}_also"]
    elif kind == "function":
        shadow = (writer.functions or ["x"])[-1].rpartition(".")[2]
        shadow = "shadow" if shadow in other else shadow
        writer.lines.append(
            f"def {name}(x, default={value}):\n    def {shadow}_():\n        return x, default\n"
            f"    {shadow} = {shadow}_()\n    return repr([({shadow}, x, y) for y in ({other},)])[-80:]"
        )
        writer.functions.append(name)
    elif kind == "table":
        writer.lines.append(f"{name} = {{'a': {value}}}")
        writer.tables.append(name)
    elif kind == "change" and writer.tables:
        table = draw(st.sampled_from(writer.tables))
        writer.lines.append(
            draw(st.sampled_from([f"{table}['{name}'] = {value}", f"{table}.update(u=repr({value})[:9])"]))
        )
    elif kind == "loop" and writer.tables:
        table = draw(st.sampled_from(writer.tables))
        writer.lines.append(f"for index in range(2):\n    {table}[index] = index\ndel index")
    elif kind == "class":
        writer.lines.append(
            f"class {name}_k:\n    field = {value}\n    def __init__(self, x):\n        self.x = x\n"
            f"    def show(self):\n        return repr([self.field, self.x, {other}])[-50:]\n"
            f"def {name}(x):\n    return {name}_k(x).show()"
        )
        writer.functions.append(name)
    elif kind == "if":
        writer.lines.append(
            f"try:\n    if {value}:\n        {name} = 1\n    else:\n        {name} = {other}\nfinally:\n    pass"
        )
        writer.constants.append(name)
    elif kind == "wrapped":
        writer.lines.append(
            f"def {name}_d(f):\n    import functools\n    @functools.wraps(f)\n    def inner(*a):\n"
            f"        return f(*a), {value}\n    return inner\n\n@{name}_d\ndef {name}(x):\n    return x"
        )
        writer.functions.append(name)
    else:
        writer.lines.append(f"{name}_noise = {value}")


@pytest.mark.slow
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(programs())
def test_a_captured_program_gives_the_answer_of_the_original(files: dict[str, str]) -> None:
    with pytest.MonkeyPatch.context() as monkeypatch, tempfile.TemporaryDirectory() as folder:
        project = Project(Path(folder) / "a" / "b", monkeypatch)
        names = {"pkg": "pkg__init", "pkg.beta": "pkg__beta"}
        project.write(**{names.get(name, name): text for name, text in files.items()})
        captured = capture(project.get("pipeline:train"))
        assert execute(captured) == repr(project.get("pipeline:train")())
        assert "noise" not in program(captured)
