"""What an error proposes can be done, and reads as a person would say it."""

import pytest

from penstock import ConfigurationError, DefinitionError, pipeline, step
from penstock.diagnostics import with_article


@step
def train(rows: int, depth: int = 3) -> int:
    return rows + depth


def made(factor: int):
    @step
    def scaled(rows: int) -> int:
        return rows * factor

    return scaled


def problems(make):
    with pytest.raises(DefinitionError) as caught:
        make()
    return {each.code: each for each in caught.value.diagnostics}


@pytest.mark.parametrize(
    ("noun", "said"),
    [("int", "an int"), ("str", "a str"), ("list[int]", "a list[int]"), ("Any", "an Any"), ("UUID", "a UUID")],
)
def test_a_type_has_its_article(noun, said):
    assert with_article(noun) == said


def test_the_fix_of_a_wrong_result_has_an_article():
    def make():
        @pipeline
        def bad(rows: int) -> str:
            return train(rows)

    assert problems(make)["P208"].fix == "annotate it `-> int`, or return a str"


def test_an_unknown_argument_is_told_the_nearest_parameter_of_the_step():
    def make():
        @pipeline
        def bad(rows: int) -> int:
            return train(rows, deth=3)

    assert problems(make)["P205"].fix == "did you mean `depth`?"


def test_a_missing_argument_is_told_to_be_given():
    def make():
        @pipeline
        def bad(rows: int) -> int:
            return train(depth=3)

    assert "give each required parameter once" in problems(make)["P205"].fix


def test_steps_of_one_factory_are_told_to_take_what_differs():
    def make():
        @pipeline
        def bad(rows: int) -> int:
            return made(3)(made(2)(rows))

    assert "pass what differs as a parameter" in problems(make)["P209"].fix


def test_a_wrong_option_is_told_in_the_words_of_the_target_alone():
    @pipeline
    def fine(rows: int) -> int:
        return train(rows)

    with pytest.raises(ConfigurationError) as caught:
        fine.compile("airflow", artifact_root="shared")
    [problem] = caught.value.diagnostics
    assert problem.message == (
        "option `artifact_root` of target `airflow`: must be the absolute path of a folder that all workers mount, "
        "or `SCHEME://CONNECTION@BUCKET/PREFIX`"
    )
