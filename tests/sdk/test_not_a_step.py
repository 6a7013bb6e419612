"""What cannot be a step is told once, by its cause, and not by what follows from that."""

import functools
from typing import Annotated

import pytest

from penstock import DefinitionError, Serializer, pipeline, step


class Trainer:
    def fit(self, rows: int) -> int:
        return rows

    def __call__(self, rows: int) -> int:
        return rows


@step
def plain(rows: int) -> int:
    return rows


SAVING = Serializer(lambda value, path: None, lambda path: Trainer())


def problems(make):
    with pytest.raises(DefinitionError) as caught:
        make()
    return caught.value.diagnostics


@pytest.mark.parametrize(
    ("thing", "said"),
    [
        (Trainer().fit, "`Trainer.fit` is a method: it can't be a step"),
        (functools.partial(Trainer.fit, None), "a functools.partial can't be a step"),
        (Trainer, "a class can't be a step"),
        (Trainer(), "an object of type Trainer can't be a step"),
        (plain, "an object of type Step can't be a step"),
        (len, "an object of type builtin_function_or_method can't be a step"),
    ],
    ids=["bound method", "partial", "class", "callable object", "step", "builtin"],
)
def test_what_is_no_function_is_refused_by_one_code_at_a_line_of_the_author_and_without_addresses(thing, said):
    [problem] = problems(lambda: step(thing))
    assert (problem.code, problem.message) == ("P101", said)
    assert " at 0x" not in problem.render()
    assert problem.location.path == __file__


def test_a_lambda_is_told_that_it_has_no_name_and_not_that_it_lacks_annotations():
    [problem] = problems(lambda: step(lambda rows: rows))
    assert problem.code == "P102"


def test_a_method_is_told_to_be_a_function_and_not_to_annotate_self():
    def make():
        class Model:
            @step
            def fit(self, rows: int) -> int:
                return rows

    [problem] = problems(make)
    assert problem.code == "P101"
    assert "make it a function at the top of the module" in problem.fix


def test_a_serializer_of_lambdas_is_refused_once():
    def make():
        @step
        def fit(rows: int) -> Annotated[Trainer, SAVING]:
            return Trainer()

        @pipeline
        def train(rows: int) -> None:
            fit(rows)

    [problem] = problems(make)
    assert problem.code == "P201"
    assert "`save` of a Serializer is a lambda" in problem.message
