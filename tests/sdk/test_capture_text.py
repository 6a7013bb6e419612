"""The text of a captured program is the author's, byte for byte."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.sdk.capturing import Project, execute, text_of


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    return Project(tmp_path, monkeypatch)


ODD = '''#!/usr/bin/env python
# -*- coding: utf-8 -*-
"""Module docstring."""
import os, json  # both

# above, with "quotes" and \\ — ünïcode
# second line
TEXT = """first 'line' "quoted"
\tindented \\t {braces} %s ${{ x }}
    # not a comment
last""" + 'it\\'s'   # trailing

a = 1; b = "ü;"; c = [a,
  b]  # shared

# apart

def train():  # on the def
\t"""Docs with ``back\\\\slash``."""
\t# inside

\treturn (TEXT, a,
\t    c)
'''


def test_comments_strings_and_tabs_are_kept_as_written(project: Project) -> None:
    project.write_bytes("pipeline.py", ODD.encode())
    captured = project.capture("pipeline:train")
    assert execute(captured) == repr(project.get("pipeline:train")())
    text = text_of(captured, "pipeline")
    start = ODD.index("# above")
    assert ODD[start : ODD.index("\n\na = 1")] in text
    assert ODD[ODD.index("def train") :] in text
    assert '\na = 1\nb = "ü;"\nc = [a,\n  b]  # shared\n' in text
    assert "#!" not in text
    assert "apart" not in text
    assert "import" not in text


def test_line_ends_become_one_and_encodings_are_read(project: Project) -> None:
    source = "# coding: latin-1\r\nNAME = '''\xe9\r\nx'''\r\n\r\ndef train():\r\n    return NAME\r\n"
    project.write_bytes("pipeline.py", source.encode("latin-1"))
    captured = project.capture("pipeline:train")
    assert text_of(captured, "pipeline") == "NAME = '''\xe9\nx'''\n\n\ndef train():\n    return NAME\n"
    assert execute(captured) == repr("\xe9\nx")


def test_statements_keep_the_line_of_their_definition(project: Project) -> None:
    project.write(
        pipeline="""
        from penstock import step

        LIMIT = 3

        # why
        @step(
            cache=False,
        )
        def train() -> int:
            return LIMIT
        """
    )
    captured = project.capture("pipeline:train")
    (module,) = captured.modules
    assert [(each.line, each.source.splitlines()[0]) for each in module.statements] == [(3, "LIMIT = 3"), (8, "# why")]
    assert captured.span.model_dump() == {
        "file": "pipeline.py",
        "line": 9,
        "column": 0,
        "end_column": 19,
        "text": "def train() -> int:",
    }


def test_a_trimmed_import_is_still_an_import_of_the_same_names(project: Project) -> None:
    project.write(
        pipeline="""
        # what for
        import json, math as m, os.path
        from collections import (OrderedDict, deque as d,
                                 Counter)

        def train():
            return m.pi, list(d([1])), os.path.sep
        """
    )
    captured = project.capture("pipeline:train")
    text = text_of(captured, "pipeline")
    assert text.startswith("# what for\nimport math as m, os.path\nfrom collections import deque as d\n")
    assert execute(captured) == repr(project.get("pipeline:train")())


def test_definitions_in_functions_are_dedented_outside_of_strings(project: Project) -> None:
    project.write(
        pipeline='''
        def make():
            if True:
                # about it
                def train(
                    n,
            # less
                ):
                    text = """first
                    second
                        third"""
                    other = f"""{n}
                    kept"""
                    return text, other

            return train
        '''
    )
    step = project.get("pipeline:make")()
    from penstock.capture import capture

    captured = capture(step)
    assert captured.entry == "pipeline:train"
    assert execute(captured, 1) == repr(step(1))
    assert text_of(captured, "pipeline").startswith("# about it\ndef train(\n    n,\n# less\n):\n    text = ")
