"""What of a result a node of its own computes, and what stays as it is."""

from pathlib import Path
from typing import Any, NamedTuple

import pytest

from penstock import ConfigurationError, Pipeline, flow, pipeline, step
from penstock.spec import GIVE, OutputBinding, Task


class Pair(NamedTuple):
    path: Path
    size: int


@step
def names() -> list[str]:
    return ["a", "b"]


@step
def made() -> Path:
    return Path("made.txt")


@step
def number() -> int:
    return 1


@pipeline
def plain(n: int = 1) -> tuple[Path, list[int], dict[str, int]]:
    return made(), [number(), n], {"one": number()}


@pipeline
def collected(n: int = 1) -> list[int]:
    return [number() if each else each for each in range(n)] if n else []


@pipeline
def texts() -> str:
    return f"{number()} of {names()}"


@pipeline
def beside() -> Pair:
    return Pair(made(), len(names()))


@pipeline
def several() -> tuple[Path, str, dict[str, bool]]:
    found = names()
    return made(), found[0], {"more": number() > 1, "none": False}


@pipeline
def one_of_many() -> tuple[str, ...]:
    return names()[1], "c"


def giving(made: Pipeline[..., Any]) -> list[Task]:
    return [node for node in made.spec.body if isinstance(node, Task) and node.step == GIVE]


@pytest.mark.parametrize("made", [plain, collected], ids=lambda made: made.name)
def test_a_result_of_whole_outputs_takes_no_node(made: Pipeline[..., Any]) -> None:
    assert giving(made) == []


@pytest.mark.parametrize(
    ("made", "outputs"),
    [
        (texts, {"output": "str"}),
        (beside, {"output": "int"}),
        (several, {"output_0": "str", "output_1": "bool"}),
        (one_of_many, {"output": "str"}),
    ],
    ids=lambda each: getattr(each, "name", ""),
)
def test_one_node_computes_what_has_to_be_and_no_more(made: Pipeline[..., Any], outputs: dict[str, str]) -> None:
    (node,) = giving(made)
    assert node.id == "return"
    assert {each.name: each.type.text for each in made.spec.step(node).outputs} == outputs
    assert OutputBinding(node="made", output="output") not in [binding for _, binding in node.inputs]


def test_a_node_of_the_author_may_have_its_name(tmp_path: Path) -> None:
    @pipeline
    def named() -> str:
        return f"{number.with_options(name='return')()}"

    assert [node.id for node in named.spec.body] == ["return", "return_2"]
    assert named.run(inline=True, store=tmp_path).outputs == "1"


def test_it_waits_for_the_gates_before_it(tmp_path: Path) -> None:
    @pipeline
    def gated() -> str:
        found = number()
        assert found > 1
        return f"{found}"

    assert giving(gated)[0].after == ("assert",)
    assert gated.run(inline=True, store=tmp_path)["return"].state.value == "upstream_failed"


def test_a_failed_one_says_what_python_says_and_points_to_the_return(tmp_path: Path) -> None:
    @pipeline
    def failing() -> str:
        return names()[2]

    run = failing.run(inline=True, store=tmp_path)
    assert (run.state.value, run.outputs) == ("failed", None)
    assert run["return"].error == "IndexError: list index out of range"
    span = giving(failing)[0].span
    assert span is not None
    assert span.text.strip() == "return names()[2]"


def test_nothing_is_given_where_it_was_skipped(tmp_path: Path) -> None:
    @pipeline
    def skipping(deep: bool = False) -> str:
        with flow.If(deep):
            found = number()
        return f"{found}"

    run = skipping.run(inline=True, store=tmp_path)
    assert (run.state.value, run["return"].state.value, run.outputs) == ("succeeded", "skipped", None)


def test_it_is_no_step_that_a_test_could_fake(penstock_run: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"`return` of pipeline `texts` is a computed result, not a step"):
        penstock_run(texts, fakes={"return": "x"})
    assert penstock_run(texts, fakes={number: 3}).outputs == "3 of ['a', 'b']"
