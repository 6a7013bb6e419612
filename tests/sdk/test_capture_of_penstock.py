"""What a step's program keeps of Penstock, however the author imports it."""

import pytest

from tests.sdk.capturing import Project, execute, names, text_of

USES = """
    @step
    def train(rows: int) -> int:
        log_metric("rows", rows)
        return rows + 1

    @pipeline
    def whole(rows: int) -> int:
        return train(rows)
"""


@pytest.fixture
def project(tmp_path, monkeypatch):
    return Project(tmp_path, monkeypatch)


@pytest.mark.parametrize(
    "line",
    ["from penstock import *", "from surroundings import *", "from penstock import log_metric, pipeline, step"],
)
def test_decorators_are_known_through_star_imports_too(project, line):
    project.write(surroundings="from penstock import *\n", pipeline=line + "\n" + USES.replace("\n    ", "\n"))
    captured = project.capture("pipeline:train")
    assert execute(captured, 2) == "3"
    assert "step" not in names(captured, "pipeline")
    assert "import log_metric\n" in text_of(captured, "pipeline") + text_of(captured, captured.modules[-1].name)
    assert project.get("pipeline:whole").spec.modules == captured.modules


def test_the_rest_of_penstock_is_refused_through_a_star_import_too(project):
    project.write(pipeline="from penstock import *\n\ndef train():\n    return Retry(1)\n")
    (problem,) = project.refusals("pipeline:train")
    assert problem.code == "P114"
    assert "`penstock.Retry` is used inside a step" in problem.message


def test_a_function_of_ones_own_called_step_is_not_taken_for_penstocks(project):
    project.write(
        pipeline="""
        from penstock import *

        def step(function):
            return lambda: function() + 1

        @step
        def inner():
            return 1

        def train():
            return inner()
        """
    )
    assert execute(project.capture("pipeline:train")) == "2"
