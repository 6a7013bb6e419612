"""Where something came from and what used it, across the runs of a store."""

import json
from pathlib import Path

import pytest

from penstock import ConfigurationError, compiler, pedigree, pipeline, step


class Model:
    def __init__(self, depth: int) -> None:
        self.depth = depth


@step
def load(url: str) -> list[int]:
    return [len(url), 1]


@step
def write(rows: list[int]) -> Path:
    Path("table.csv").write_text("\n".join(map(str, rows)))
    return Path("table.csv")


@step
def train(table: Path, depth: int) -> Model:
    return Model(depth + len(table.read_text()))


@step
def select(models: list[Model]) -> Model:
    return max(models, key=lambda model: model.depth)


@step
def deploy(model: Model, where: str) -> str:
    return f"{model.depth} to {where}"


@step
def refuse(model: Model) -> None:
    raise ValueError("no")


@pipeline
def churn(url: str = "here", depths: list[int] = [1, 2], where: str = "test", deploys: bool = True) -> str | None:
    table = write(load(url))
    best = select([train(table, depth) for depth in depths])
    if deploys:
        return deploy(best, where)
    refuse(best)
    return None


@pytest.fixture
def store(tmp_path):
    return tmp_path / "store"


def history(store):
    return compiler.history(None, store)


def nodes(found, ids):
    return [found.made[id_].node for id_ in ids]


def test_a_node_came_from_all_that_went_into_it_and_was_used_by_all_after_it(store):
    run = churn.run(store=store, inline=True)
    found = history(store).lineage(f"{run.id}:write")
    assert nodes(found, found.subjects) == ["write"]
    assert sorted(each.node for each in found.made.values()) == [
        "deploy",
        "load",
        "select",
        "train[0]",
        "train[1]",
        "write",
    ]
    (write_,) = (found.made[id_] for id_ in found.subjects)
    assert (write_.step, write_.place.rpartition("/")[2]) == ("write", f"test_lineage.py:{line_of('def write')}")
    assert nodes(found, write_.sources) == ["load"]
    assert nodes(found, found.users[write_.id]) == ["train[0]", "train[1]"]
    assert found.made[write_.sources[0]].taken[0].text == "parameter url = 'here'"


def line_of(text):
    lines = Path(__file__).read_text().splitlines()
    return next(number for number, line in enumerate(lines, 1) if line.startswith(text))


def test_an_item_of_a_loop_came_from_the_list_that_held_it(store):
    run = churn.run(store=store, inline=True)
    found = history(store).lineage(f"{run.id}:train[1]")
    (made,) = (found.made[id_] for id_ in found.subjects)
    assert {each.argument: nodes(found, each.sources) for each in made.taken} == {"table": ["write"], "depth": ["for"]}
    assert found.made[made.taken[1].sources[0]].text == "depths"


def test_what_came_from_the_cache_is_told_where_it_was_made(store):
    first = churn.run(store=store, inline=True)
    second = churn.run(store=store, inline=True, where="production")
    found = history(store).lineage(f"{second.id}:deploy")
    made = {each.node: each.run for each in found.made.values()}
    assert made["deploy"] == second.id
    assert made["train[0]"] == made["load"] == first.id
    below = history(store).lineage(f"{second.id}:select")
    assert below.subjects == (f"{first.id}:select",)
    assert {below.made[id_].run for id_ in below.users[below.subjects[0]]} == {first.id, second.id}


def test_an_object_is_found_by_its_digest_and_by_a_file_with_its_content(store, tmp_path):
    churn.run(store=store, inline=True)
    churn.run(store=store, inline=True, url="elsewhere")
    copy = tmp_path / "a copy.csv"
    copy.write_text("9\n1")
    found = history(store).lineage(str(copy))
    assert nodes(found, found.subjects) == ["write"]
    loaded = next(each for each in found.made.values() if each.node == "load")
    assert loaded.taken[0].text == "parameter url = 'elsewhere'"
    digest = found.made[found.subjects[0]].gave["output"].split()[1]
    assert history(store).lineage(digest[:10]).subjects == found.subjects


def test_of_many_inputs_the_first_are_told(store):
    run = churn.run(store=store, inline=True, depths=list(range(40)))
    found = history(store).lineage(f"{run.id}:select")
    (taken,) = found.made[found.subjects[0]].taken
    assert "train[9] " in taken.text
    assert taken.text.endswith(" and 30 more")
    assert len(taken.sources) == 40


def test_what_failed_has_a_lineage_too(store):
    run = churn.run(store=store, inline=True, deploys=False)
    found = history(store).lineage(f"{run.id}:refuse")
    assert found.made[found.subjects[0]].state == "failed"
    assert "select" in nodes(found, found.made[found.subjects[0]].sources)


def test_the_code_of_a_step_is_told_by_what_it_reaches(store):
    run = churn.run(store=store, inline=True)
    found = history(store).lineage(run.id)
    codes = {each.node: each.code for each in found.made.values() if each.step}
    assert codes["train[0]"] == codes["train[1]"] != codes["select"]


def test_where_results_are_gone_the_rest_is_told(store):
    run = churn.run(store=store, inline=True)
    for file in (store / "results").iterdir():
        file.unlink()
    found = history(store).lineage(f"{run.id}:deploy")
    assert nodes(found, found.subjects) == ["deploy"]
    deployed = found.made[found.subjects[0]]
    assert deployed.gave == {}
    assert nodes(found, deployed.sources) == ["select"]
    assert {each.node for each in found.made.values()} >= {"load", "write", "train[0]", "train[1]", "select"}


def test_nothing_made_it(store, tmp_path):
    churn.run(store=store, inline=True)
    (tmp_path / "mine.txt").write_text("nobody made this")
    for what in (str(tmp_path / "mine.txt"), "latest:nobody"):
        with pytest.raises(ConfigurationError, match="P736"):
            history(store).lineage(what)


def test_a_lineage_is_told_in_lines_as_json_and_as_a_flowchart(store):
    run = churn.run(store=store, inline=True)
    found = history(store).lineage(f"{run.id}:select")
    told = "\n".join(pedigree.lines(found))
    above, _, below = told.partition("[bold]used by[/]")
    assert "select() " in above
    assert above.index("train[0]") < above.index("write") < above.index("load")
    assert above.count("(as above)") == 2  # the table, and the list of depths
    assert "deploy" in below
    as_json = json.loads(json.dumps(pedigree.as_json(found)))
    assert {each["node"] for each in as_json["made"]} >= {"load", "write", "select", "deploy"}
    drawn = pedigree.as_mermaid(found)
    assert drawn.startswith("flowchart TD\n")
    assert drawn.count("-->") == sum(len(each.sources) for each in found.made.values())
