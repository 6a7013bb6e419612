"""What exists already, at a URI: read as any step reads, refused where no step could, and never with credentials."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator
from pathlib import Path

import fsspec
import pytest

from penstock import Dataset, DefinitionError, Model, PipelineSpec, Report, Retry, State, existing, pipeline, step
from penstock.fetching import fetched, parts_below
from penstock.requirements import pinned
from penstock.spec import TypeKind, tasks

PAGES = {"/rows%20of%20today.csv": b"n\n1\n", "/empty": b""}


class Pages(http.server.BaseHTTPRequestHandler):
    """Serves `PAGES`; of ``/broken`` it sends less than it says, and ``/down`` is down."""

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        body = PAGES.get(path, b"half")
        self.send_response({"/down": 503, "/broken": 200}.get(path, 200 if path in PAGES else 404))
        self.send_header("Content-Length", str(len(body) * (1 + (path == "/broken"))))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Says nothing."""


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """The address of the server."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Pages) as serving:
        thread = threading.Thread(target=serving.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{serving.server_address[1]}"
        serving.shutdown()
        thread.join()


@step
def told(found: Path) -> str:
    files = [found] if found.is_file() else sorted(each for each in found.rglob("*") if each.is_file())
    return " ".join(f"{each.relative_to(found.parent).as_posix()}={each.read_text()}" for each in files)


@pipeline
def telling(uri: str) -> str:
    return told(existing(uri, Dataset[Path]))


@pipeline
def trusting(uri: str) -> str:
    return told(existing(uri, cache=True))


# --- reading ----------------------------------------------------------------------------------------------------------


def test_a_path_is_itself_and_a_file_uri_the_path_that_it_stands_for(tmp_path):
    file = tmp_path / "a b.txt"
    file.write_text("x")
    uris = (str(file), f"file://{tmp_path}/a%20b.txt", f"file:{tmp_path}/a b.txt")
    assert [existing(uri) for uri in uris] == [file, file, file]
    assert fetched(f"FILE://localhost{tmp_path}", "", Path("nowhere")) == tmp_path


def test_a_page_is_fetched_under_its_own_name_also_as_plain_python(server):
    assert telling(f"{server}/rows of today.csv?day=1") == "rows of today.csv=n\n1\n"
    assert existing(f"{server}/empty").read_bytes() == b""


@pytest.mark.parametrize(
    ("path", "error", "said"),
    [
        ("/none?token=secret", FileNotFoundError, "there is nothing at {}/none"),
        ("/down?token=secret", OSError, "{}/down cannot be read: the server answered 503 Service Unavailable"),
        ("/broken?token=secret", OSError, "{}/broken broke off: 4 of 8 bytes came"),
    ],
)
def test_what_a_server_does_not_give_is_told_by_the_address_without_its_query(server, path, error, said, tmp_path):
    with pytest.raises(error) as caught:
        fetched(server + path, "", tmp_path)
    assert str(caught.value) == said.format(server)


def test_what_only_stands_for_a_folder_in_a_store_is_no_file():
    assert parts_below("bucket/shelf/", "bucket/shelf/deep/") == []
    assert parts_below("bucket/shelf", "bucket/shelf/deep/note.txt") == ["deep", "note.txt"]


def test_a_server_that_is_not_there_is_told():
    with pytest.raises(OSError, match=r"^http://127\.0\.0\.1:9/rows cannot be read: .*refused"):
        existing("http://127.0.0.1:9/rows")


def test_an_object_comes_as_a_file_and_a_prefix_as_a_folder(tmp_path):
    store = fsspec.filesystem("memory")
    store.pipe({"/shelf/rows.csv": b"1", "/shelf/deep/note.txt": b"2", "/shelved": b"3"})
    try:
        assert told(fetched("memory://shelf/rows.csv", "memory", tmp_path)) == "rows.csv=1"
        assert told(fetched("memory://shelf", "", tmp_path)) == "shelf/deep/note.txt=2 shelf/rows.csv=1"
        with pytest.raises(FileNotFoundError, match="there is nothing at memory://shelf/none"):
            fetched("memory://shelf/none", "", tmp_path)
        store.pipe("/traps/../out", b"")
        with pytest.raises(OSError, match=r"memory://traps cannot be read: .* a name that leads out of its folder"):
            fetched("memory://traps", "", tmp_path)
    finally:
        store.store.clear()


@pytest.mark.parametrize(
    ("uri", "scheme", "said"),
    [
        ("data/rows.csv", "", "'data/rows.csv' is a relative path, and each step runs in a folder of its own"),
        ("~/rows.csv", "", "is a relative path"),
        ("s3:bucket/rows.csv", "", "is a relative path"),
        ("https://me:hunter2@host/rows.csv?key=hunter2", "", "https://host/rows.csv was given with credentials"),
        ("https://hunter2@host/rows.csv", "", "https://host/rows.csv was given with credentials"),
        ("file://host/rows.csv", "", "file://host/rows.csv is on another machine, host"),
        ("http://[host/rows.csv", "", "is no URI"),
        ("gs://bucket/rows.csv", "s3", "gs://bucket/rows.csv does not begin with s3://, as the pipeline says"),
    ],
)
def test_a_uri_that_no_step_can_be_given_is_refused_without_its_credentials(uri, scheme, said, tmp_path):
    with pytest.raises(ValueError) as caught:  # noqa: PT011  # the text is what this is about
        fetched(uri, scheme, tmp_path)
    assert said in str(caught.value)
    assert "hunter2" not in str(caught.value)


def test_a_scheme_that_nothing_reads_is_told_with_what_to_say(tmp_path):
    with pytest.raises(ModuleNotFoundError, match=r"nothing here can read odd://x \(.*odd.*\); say `scheme=`"):
        fetched("odd://x", "", tmp_path)


# --- in a pipeline ----------------------------------------------------------------------------------------------------


def test_a_run_reads_it_anew_and_with_cache_takes_the_uri_for_the_content(tmp_path):
    file = tmp_path / "rows.csv"
    file.write_text("1")
    for each in (telling, trusting):
        first = each.run(uri=str(file), store=tmp_path / "store", inline=True)
        assert first.outputs == "rows.csv=1"
    file.write_text("2")
    assert telling.run(uri=str(file), store=tmp_path / "store", inline=True).outputs == "rows.csv=2"
    again = trusting.run(uri=str(file), store=tmp_path / "store", inline=True)
    assert (again.outputs, again.nodes["existing"].state) == ("rows.csv=1", State.CACHED)
    assert again.nodes["existing"].metadata == {"output": {"uri": str(file)}}


def test_the_content_is_what_a_step_that_takes_it_is_cached_by(tmp_path):
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "rows.csv").write_text("the same")
    runs = [telling.run(uri=str(tmp_path / f / "rows.csv"), store=tmp_path / "s", inline=True) for f in "ab"]
    assert [run.nodes["existing"].state for run in runs] == [State.SUCCEEDED, State.SUCCEEDED]
    assert [run.nodes["told"].state for run in runs] == [State.SUCCEEDED, State.CACHED]


def test_what_is_missing_fails_its_node_and_is_tried_again_if_asked(tmp_path):
    @pipeline
    def patient(uri: str) -> str:
        return told(existing(uri, retry=Retry(2)))

    run = patient.run(uri=str(tmp_path / "none"), store=tmp_path / "store", inline=True)
    assert (run.nodes["existing"].state, run.nodes["existing"].attempts) == (State.FAILED, 3)
    assert f"there is nothing at {tmp_path}/none" in run.nodes["existing"].error


def test_a_test_says_by_its_name_what_lies_there(penstock_run, tmp_path):
    @pipeline
    def far() -> str:
        return told(existing("s3://bucket/rows.csv"))

    (tmp_path / "rows.csv").write_text("made up")
    assert penstock_run(far, fakes={"existing": tmp_path / "rows.csv"}).outputs == "rows.csv=made up"


def test_it_is_a_node_with_one_output_of_the_kind_that_is_asked_for():
    @pipeline
    def all_kinds(uri: str) -> list[str]:
        found = [existing(uri), existing(uri, Model[Path]), existing(uri, Report[Path], name="page")]
        return [told(each) for each in found]

    spec = all_kinds.spec
    nodes = [task for task in tasks(spec.body) if task.step.startswith("penstock_existing:")]
    outputs = [spec.step(task).outputs for task in nodes]
    assert [task.id for task in nodes] == ["existing", "existing_2", "page"]
    assert [(each.type.kind, each.type.label) for (each,) in outputs] == [
        (TypeKind.PATH, ""),
        (TypeKind.PATH, "Model"),
        (TypeKind.PATH, "Report"),
    ]
    assert not any(task.settings.cache for task in nodes)
    assert [module.name for module in spec.modules].count("penstock_existing") == 1
    assert PipelineSpec.model_validate_json(spec.model_dump_json()) == spec


@pytest.mark.parametrize(
    ("uri", "options", "needed"),
    [
        ("https://host/rows.csv", {}, set()),
        ("s3://bucket/rows.csv", {}, {"s3fs"}),
        ("sftp://me@host/rows.csv", {}, {"fsspec", "paramiko"}),
        (None, {"scheme": "gs"}, {"gcsfs"}),
        (None, {}, {"adlfs"}),
    ],
    ids=["http", "s3", "sftp", "a scheme that is said", "a parameter's default"],
)
def test_the_packages_that_a_scheme_takes_are_there_where_the_step_runs(uri, options, needed):
    @pipeline
    def reading(where: str = "abfs://box@account.dfs.core.windows.net/rows.csv") -> str:
        return told(existing(uri or where, **options))

    (found,) = (each for each in reading.spec.steps if each.id.startswith("penstock_existing:"))
    assert set(found.requirements) == {pinned(each) or each for each in needed}


def problem_of(uri, kind=Path, **options):
    with pytest.raises(DefinitionError) as caught:

        @pipeline
        def wrong() -> str:
            return told(existing(uri, kind, **options))

    (problem,) = caught.value.diagnostics
    assert problem.location.path == __file__
    assert "existing(" in problem.location.text
    return problem


@pytest.mark.parametrize(
    ("uri", "options", "said", "fix"),
    [
        ("data/rows.csv", {}, "is a relative path", "write an absolute path, or a URI"),
        ("https://me:hunter2@host/x", {}, "with credentials", "name secrets that let the step in: `secrets=`"),
        ("https://host/x?X-Amz-Signature=hunter2", {}, "https://host/x is signed", "take it as a parameter"),
        ("htpps://host/x", {}, "does not know what reads htpps://", "did you mean `https`?"),
        ("minio://bucket/x", {}, "does not know what reads minio://", "`packages=[...]`"),
        ("gs://bucket/x", {"scheme": "s3"}, "does not begin with s3://", "leave `scheme=` out: this URI says itself"),
    ],
)
def test_a_constant_that_no_step_could_read_is_refused_at_its_line(uri, options, said, fix):
    problem = problem_of(uri, **options)
    assert problem.code == "P220"
    assert said in problem.message
    assert fix in problem.fix
    assert "hunter2" not in problem.message


def test_any_scheme_is_taken_with_packages():
    @pipeline
    def own() -> str:
        return told(existing("minio://bucket/x", packages=["fsspec", "minio-fs"]))

    (task,) = (each for each in tasks(own.spec.body) if each.id == "existing")
    assert task.settings.packages == ("fsspec", "minio-fs")


@pytest.mark.parametrize(
    ("kind", "name"), [(str, "str"), (Dataset[str], "Dataset[str]"), ("Path", "Path"), (list[int], "list")]
)
def test_only_paths_are_given(kind, name):
    problem = problem_of("/data/rows.csv", kind)
    assert problem.code == "P221"
    assert problem.message == f"`existing` gives a Path, and not {name}"
    assert "read the file in the step that uses it" in problem.fix


@pytest.mark.parametrize("options", [{"retry": True}, {"name": 3}, {"cache": "no"}], ids=str)
def test_an_option_that_makes_no_sense_is_told_at_its_call(options):
    assert problem_of("/data/rows.csv", **options).code == "P211"


def test_a_uri_of_another_type_is_a_bad_edge():
    problem = problem_of(3)
    assert (problem.code, problem.fix) == ("P204", "pass a str")


def test_a_step_has_no_use_of_it():
    @step
    def inside(uri: str) -> Path:
        return existing(uri)

    with pytest.raises(DefinitionError) as caught:

        @pipeline
        def wrong(uri: str) -> Path:
            return inside(uri)

    assert [each.code for each in caught.value.diagnostics] == ["P114"]
