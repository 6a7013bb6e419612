"""The header of emitted files, and what all targets say in one voice."""

import shlex

import pytest

from penstock import compiler, pipeline, step
from penstock.backend import Level, Options
from penstock.cli import _options
from penstock.spec import Feature
from penstock_backends.rendering import option_words


@step
def one() -> int:
    return 1


@pipeline
def ones() -> int:
    return one()


class Chosen(Options):
    text: str = ""
    count: int = 1
    several: tuple[str, ...] = ()
    tables: tuple[dict[str, int], ...] = ()


@pytest.mark.parametrize(
    "given",
    [
        {"text": "small"},
        {"text": "two words"},
        {"text": "3"},
        {"text": "true"},
        {"text": 'say "yes"'},
        {"text": "$HOME `date` 'x'"},
        {"text": "a\nimport os"},
        {"text": "Größe\u2028\u202e"},
        {"text": "2024-02-29"},
        {"count": 3, "several": ["a", "b c"]},
        {"tables": [{"cpu": 16}]},
    ],
    ids=str,
)
def test_options_in_the_command_of_the_header_are_read_back_as_they_were(given):
    options = Chosen.model_validate(given)
    line = " ".join(option_words(options))
    assert line.isascii()
    assert line.isprintable()
    words = [word for word in shlex.split(line) if word != "--option"]
    assert Chosen.model_validate(_options(words, None)) == options


def test_what_is_left_at_its_default_is_not_in_the_command():
    assert option_words(Chosen(text="", count=1)) == []


OPTIONS = {
    "github": ({"runs_on": "own", "retention_days": 3}, ["--option runs_on=own", "--option retention_days=3"]),
    "kubeflow": ({"base_image": "python:3.13"}, ["--option base_image=python:3.13"]),
    "airflow": ({"airflow": 2, "pool": "a\nimport os"}, ["--airflow 2", r"""--option 'pool="a\nimport os"'"""]),
    "local": ({}, []),
}


@pytest.mark.parametrize("target", OPTIONS)
def test_every_file_says_the_options_that_it_was_made_with(target):
    given, words = OPTIONS[target]
    for text in ones.compile(target, **given).values():
        [command] = [line for line in text.splitlines() if "penstock compile " in line]
        assert command.endswith(" ".join([f":ones --to {target}", *words]))
        assert command.startswith("#")


@pytest.mark.parametrize("target", ["airflow", "github"])
def test_a_target_that_does_not_reuse_what_it_may_says_so(target):
    support = compiler.backend(target).supports[Feature.CACHE]
    assert support.level is Level.EMULATED
    assert "else nothing is reused" in support.how
