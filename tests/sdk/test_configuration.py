"""A problem with what pyproject.toml says points at the line there."""

from __future__ import annotations

import pytest
from typer.testing import CliRunner

from penstock import ConfigurationError, compiler, configuration
from penstock.cli import app
from penstock.configuration import project_of
from penstock.loading import load_pipeline
from tests.warm_python import penstock

PROJECT = """
[tool.other]
cpu = 1

[tool.penstock.run]
cpu = "many"
store_limt = "2Gi"

[[tool.penstock.run.alerts]]
on = "failure"
to = "https://hooks.example.org"

[[tool.penstock.run.alerts]]
on = "sucess"
"""


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "pyproject.toml").write_text(PROJECT)
    (tmp_path / "inner").mkdir()
    return tmp_path / "inner"


def test_each_problem_has_its_line_and_the_text_of_it(folder):
    with pytest.raises(ConfigurationError) as refused:
        compiler.history(folder)
    problems = refused.value.diagnostics
    places = {each.message.partition("option `")[2].partition("`")[0]: each.location for each in problems}
    lines = PROJECT.splitlines()
    assert {name: (place.line, place.text) for name, place in places.items()} == {
        "cpu": (6, lines[5]),
        "store_limt": (7, lines[6]),
        "alerts.1.on": (13, "[[tool.penstock.run.alerts]]"),
    }
    assert {place.path for place in places.values()} == {str(folder.parent / "pyproject.toml")}


def test_what_is_given_has_no_line_though_the_file_says_something_else(folder):
    (folder.parent / "pyproject.toml").write_text("[tool.penstock.run]\nstore = 'here'\n")
    with pytest.raises(ConfigurationError) as refused:
        compiler.history(folder, 5)
    assert {each.location for each in refused.value.diagnostics} == {None}


@pytest.mark.parametrize("option", ["memory", "store_limit"])
def test_a_size_below_nothing_is_refused(option):
    with pytest.raises(ConfigurationError, match=f"P705: run option `{option}`: .*at least 0"):
        compiler.checked_run_options({option: -1})


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"max_workers": 0}, "run option `max_workers`: must be at least 1 (given: 0)"),
        ({"cpu": -1}, "run option `cpu`: must be more than 0 (given: -1)"),
        ({"gpu": "all"}, "run option `gpu`: must be a whole number (given: 'all')"),
        ({"inline": "maybe"}, "run option `inline`: must be `true` or `false` (given: 'maybe')"),
        ({"alerts": [{"on": "failures", "to": ["true"]}]}, "did you mean `failure`?"),
    ],
)
def test_a_run_option_that_cannot_be_is_told_with_what_can(given, said):
    with pytest.raises(ConfigurationError) as refused:
        compiler.checked_run_options(given)
    (problem,) = refused.value.diagnostics
    assert problem.code == "P705"
    assert said in (problem.message, problem.fix)


ENVIRONMENTS = """
[tool.penstock.airflow]
airflow = 3
pool = "small"

[tool.penstock.airflow.steps.train]
pool = "large"

[tool.penstock.environments.prod.airflow]
pool = "prod"

[tool.penstock.environments.prod.airflow.steps.score]
pool = "fast"

[tool.penstock.environments.staging]

[tool.penstock.environments.prod.run]
cpu = "many"

[tool.penstock.run]
cpu = 2
"""


@pytest.fixture
def environments(tmp_path, monkeypatch):
    (tmp_path / "pyproject.toml").write_text(ENVIRONMENTS)
    return tmp_path


def test_an_environment_goes_before_what_holds_for_all_of_them(environments, monkeypatch):
    everywhere = {"airflow": 3, "pool": "small", "steps": {"train": {"pool": "large"}}}
    assert project_of(environments).options("airflow") == everywhere
    monkeypatch.setenv("PENSTOCK_ENVIRONMENT", "staging")
    assert project_of(environments).options("airflow") == everywhere
    monkeypatch.setenv("PENSTOCK_ENVIRONMENT", "prod")
    assert project_of(environments).options("airflow") == {
        "airflow": 3,
        "pool": "prod",
        "steps": {"train": {"pool": "large"}, "score": {"pool": "fast"}},
    }
    assert project_of(environments).options("airflow", "steps", "score") == {"pool": "fast"}
    assert project_of(environments).options("deploy", "airflow") == {}


FLOW = "from penstock import pipeline, step\n\n@step\ndef one() -> int:\n    return 1\n\n"


@pytest.mark.parametrize("given", [["--environment", "prod"], ["--environment=prod"]])
@pytest.mark.parametrize("is_first", [True, False])
def test_the_command_line_says_the_environment_before_or_behind_a_command(given, is_first, tmp_path, monkeypatch):
    monkeypatch.setenv("PENSTOCK_ENVIRONMENT", "staging")  # what the command sets is taken back by that
    (tmp_path / "pyproject.toml").write_text("[tool.penstock.environments.prod.airflow]\nairflow = 4\n")
    (tmp_path / "flow.py").write_text(f"{FLOW}@pipeline\ndef flow() -> int:\n    return one()\n")
    command = ["compile", str(tmp_path / "flow.py"), "--to", "airflow", "-o", str(tmp_path)]
    done = CliRunner().invoke(app, [*given, *command] if is_first else [*command, *given])
    assert "(given: 4)" in done.output


@pytest.mark.parametrize(
    ("written", "line"),
    [
        ("[tool.penstock.github.steps.a]\nrun_on = 1\n\nruns_on = 3\n", 4),
        ('[tool.penstock.github.steps]\nb = { environment = "x" }\na = { runs_on = 3 }\n', 3),
        ("[tool.penstock.github.steps.b]\nruns_on = 'x'\n[tool.penstock.github.steps.\"a\"]\nruns_on = 3\n", 4),
        ("[tool.penstock.github]\nsteps = { a = { runs_on = 3 } }\n", 2),
    ],
)
def test_an_option_in_a_table_of_its_own_has_its_line(written, line, tmp_path):
    (tmp_path / "pyproject.toml").write_text(written)
    found = project_of(tmp_path).places(("github",))(("steps", "a", "runs_on"))
    assert found is not None
    assert found.line == line


@pytest.mark.parametrize(
    ("given", "said", "nearest"),
    [
        ({"allow_degraded": ["schedule_stat"]}, "there is none such (given: 'schedule_stat')", "schedule_start"),
        ({"steps": {"a": {"isolation": "kubernets"}}}, "must be 'process', ", "kubernetes"),
    ],
)
def test_of_several_values_the_nearest_is_told(given, said, nearest):
    backend = compiler.backend("airflow")
    with pytest.raises(ConfigurationError) as refused:
        compiler.checked_options(backend.options, given, "target `airflow`", backend.options.model_fields)
    (found,) = refused.value.diagnostics
    assert said in found.message
    assert found.fix == f"did you mean `{nearest}`?"


@pytest.mark.parametrize(
    ("target", "options", "said"),
    [
        ("github", {"runs_on": 3}, ["`runs_on` of target `github`: must be a text or a list (given: 3)"]),
        ("github", {"runs_on": ["a", 3]}, ["`runs_on.1` of target `github`: must be a text (given: 3)"]),
        ("github", {"runners": [{"cpu": 2}]}, ["`runners.0.labels` of target `github`: is missing"]),
        (
            "kubeflow",
            {"deadline_margin": "x"},
            ["`deadline_margin` of target `kubeflow`: must be a whole number (given: 'x')"],
        ),
        (
            "kubeflow",
            {"steps": {"a": {"scratch": {"/x": "1 GB"}}}},
            ["must be a size, such as `512Mi`"],
        ),
        ("airflow", {"steps": {"a": 3}}, ["`steps.a` of target `airflow`: must be a table (given: 3)"]),
        ("airflow", {"airflow": 4, "cache": "?"}, ["must be 3 or 2", "must be `true` or `false` (given: '?')"]),
    ],
)
def test_what_is_wrong_is_told_once_a_value_and_in_plain_words(target, options, said):
    backend = compiler.backend(target)
    with pytest.raises(ConfigurationError) as refused:
        compiler.parse_options(backend, options)
    problems = refused.value.diagnostics
    assert len(problems) == len(said)
    assert all(words in each.message for words, each in zip(said, problems, strict=True))


def test_a_union_has_the_line_of_its_option(tmp_path):
    (tmp_path / "flow.py").write_text(FLOW)
    (tmp_path / "pyproject.toml").write_text("[tool.penstock.run]\ncpu = 2\nstore = 5\n")
    with pytest.raises(ConfigurationError, match="P705: run option `store`: must be a text or a path") as refused:
        compiler.history(tmp_path)
    assert [each.location and each.location.text for each in refused.value.diagnostics] == ["store = 5"]


def test_tables_that_nothing_reads_are_refused_with_their_lines(tmp_path):
    (tmp_path / "pyproject.toml").write_text(
        '[tool.penstock]\nstore = "x"\n\n[tool.penstock.airlow.steps.a]\nqueue = "x"\n\n'
        "[[tool.penstock.environments.prod.githb.runners]]\ncpu = 2\n\n[tool.penstock.environments.prod.run]\ncpu = 2\n"
    )
    with pytest.raises(ConfigurationError) as refused:
        compiler.project(tmp_path)
    found = [(each.message, each.location.line, each.fix) for each in refused.value.diagnostics if each.location]
    assert found == [
        ("[tool.penstock] takes no `store`", 1, "there are: `run`, `deploy`, `airflow`, `github`, `kubeflow`, `local`"),
        ("[tool.penstock] takes no `airlow`", 4, "did you mean `airflow`?"),
        ("[tool.penstock.environments.prod] takes no `githb`", 7, "did you mean `github`?"),
    ]


@pytest.mark.parametrize(
    ("written", "table"),
    [
        ("tool = 3", "tool"),
        ("tool.penstock = 3", "tool.penstock"),
        ("[tool.penstock]\nairflow = 3", "tool.penstock.airflow"),
        ("[tool.penstock]\nenvironments = 3", "tool.penstock.environments"),
        ("[tool.penstock.environments]\nprod = 3", "tool.penstock.environments.prod"),
        ("[tool.penstock.environments.prod]\nairflow = 3", "tool.penstock.environments.prod.airflow"),
    ],
)
def test_a_value_in_the_place_of_a_table_is_refused(written, table, tmp_path, monkeypatch):
    (tmp_path / "pyproject.toml").write_text(written, encoding="utf-8")
    monkeypatch.setenv(configuration.ENVIRONMENT, "prod")
    with pytest.raises(ConfigurationError, match=f"P704: {table} in pyproject.toml is a table, not 3"):
        project_of(tmp_path).options("airflow")


def test_help_names_the_table_of_environments():
    assert "[tool.penstock.environments]" in CliRunner().invoke(app, ["--help"], env={"COLUMNS": "200"}).output


def test_a_problem_in_an_environment_has_the_line_there(environments, monkeypatch):
    monkeypatch.setenv("PENSTOCK_ENVIRONMENT", "prod")
    with pytest.raises(ConfigurationError) as refused:
        compiler.history(environments)
    place = refused.value.diagnostics[0].location
    assert place is not None
    assert (place.line, place.text) == (ENVIRONMENTS.splitlines().index('cpu = "many"') + 1, 'cpu = "many"')


@pytest.mark.parametrize(("name", "said"), [("prdo", "did you mean `prod`"), ("zzz", "`prod`, `staging`")])
def test_an_environment_that_nobody_describes_is_refused(environments, monkeypatch, name, said):
    monkeypatch.setenv("PENSTOCK_ENVIRONMENT", name)
    with pytest.raises(ConfigurationError, match=f"P706: .*pyproject.toml has no environment `{name}`") as refused:
        project_of(environments).options("airflow")
    assert said in refused.value.diagnostics[0].fix
    with pytest.raises(ConfigurationError, match=f"nothing says what environment `{name}` is"):
        project_of(None).options("airflow")


@pytest.mark.parametrize("command", [("compile", "--to", "all", "-o", "out"), ("deploy", "--to", "airflow"), ("run",)])
def test_a_command_reads_the_configuration_once(command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "dags").mkdir()
    (tmp_path / "flow.py").write_text(FLOW)
    (tmp_path / "pyproject.toml").write_text('[tool.penstock.deploy.airflow]\ndags = "dags"\n')
    reads = []
    loads = configuration.tomllib.loads
    monkeypatch.setattr(configuration.tomllib, "loads", lambda text: reads.append(text) or loads(text))
    done = CliRunner().invoke(app, [command[0], "flow.py", *command[1:]])
    assert (done.exit_code, len(reads)) == (0, 1), done.output


def test_an_option_of_a_target_that_is_wrong_has_its_line(tmp_path):
    (tmp_path / "flow.py").write_text(FLOW)
    (tmp_path / "pyproject.toml").write_text('[tool.penstock.airflow]\nairflow = "three"\npoool = 1\n')
    made = load_pipeline(str(tmp_path / "flow.py"))
    with pytest.raises(ConfigurationError) as refused:
        made.compile("airflow")
    problems = refused.value.diagnostics
    assert {each.code: each.location and each.location.text for each in problems} == {
        "P702": "poool = 1",
        "P703": 'airflow = "three"',
    }
    with pytest.raises(ConfigurationError) as refused:
        made.compile("airflow", airflow="four", poool=2)
    assert {each.location for each in refused.value.diagnostics} == {None}


FLOW = """
from penstock import pipeline, step

@step
def one() -> int:
    return 1

@pipeline
def flow() -> int:
    return one()
"""
SHOWN = """
[tool.penstock.github]
runs_on = ["self-hosted"]

[tool.penstock.environments.prod.github]
runs_on = ["big"]
"""


def test_the_command_takes_an_environment(tmp_path, monkeypatch):
    (tmp_path / "flow.py").write_text(FLOW)
    (tmp_path / "pyproject.toml").write_text(SHOWN)
    assert penstock(tmp_path, "compile", "flow.py", "--to", "github").returncode == 0
    assert "runs-on: self-hosted" in (workflow := tmp_path / ".github/workflows/flow.yml").read_text()
    assert penstock(tmp_path, "--environment", "prod", "compile", "flow.py", "--to", "github").returncode == 0
    assert "runs-on: big" in workflow.read_text()
    done = penstock(tmp_path, "--environment", "prdo", "compile", "flow.py", "--to", "github")
    assert (done.returncode, "did you mean `prod`" in done.stderr) == (2, True)
