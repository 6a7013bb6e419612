"""What every API that deploys is asked by: to whom credentials are shown, and which answers are errors."""

from __future__ import annotations

import contextlib
import threading
import types
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from penstock import DeployError
from penstock_backends import following
from penstock_backends.airflow.deploy_api import Api as AirflowApi
from penstock_backends.deploy_errors import PassingError, refused, unreachable
from penstock_backends.exchange import exchange
from penstock_backends.github.rest import Api as GithubApi
from penstock_backends.kubeflow.deploy_api import Api as KubeflowApi

Asked = tuple[str, str, dict[str, str]]


class Server:
    """A server that notes what it is asked; ``leads`` says to where it sends whom."""

    def __init__(self) -> None:
        self.asked: list[Asked] = []
        self.leads: dict[str, tuple[int, str]] = {}
        self.answer: tuple[int, bytes] = (200, b"{}")
        self.address = ""


@pytest.fixture
def servers(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], Server]]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with contextlib.ExitStack() as stack:
        yield lambda: _serve(stack)


def _serve(stack: contextlib.ExitStack) -> Server:
    found = Server()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            found.asked.append((self.command, self.path, dict(self.headers)))
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            code, to = found.leads.get(self.path.partition("?")[0], (0, ""))
            status, body = (code, b"") if to else found.answer
            self.send_response(status)
            if to:
                self.send_header("Location", to)
            self.send_header("Content-Length", str(max(len(body), 2)))  # so that an empty body is one cut off
            self.end_headers()
            self.wfile.write(body or (b"{}" if to else b""))

        do_POST = do_GET  # noqa: N815  # the name that the class looks for

        def log_message(self, *about: object) -> None:
            pass

    server = stack.enter_context(ThreadingHTTPServer(("127.0.0.1", 0), Handler))
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    stack.callback(server.shutdown)
    found.address = f"http://127.0.0.1:{server.server_address[1]}"
    return found


def ask_airflow(address: str) -> object:
    return AirflowApi(address, 3).ask("GET", "/dags")


def ask_github(address: str) -> object:
    return GithubApi(address, "sesame").json("/dags")


def ask_kubeflow(address: str) -> object:
    return KubeflowApi(address).get("/dags")


@pytest.fixture(autouse=True)
def _credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("KUBEFLOW_TOKEN", "AIRFLOW_USERNAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AIRFLOW_TOKEN", "sesame")
    monkeypatch.setenv("KUBEFLOW_COOKIE", "sesame")


ASK = [ask_airflow, ask_github, ask_kubeflow]
PATHS = {ask_airflow: "/api/v2/dags", ask_github: "/dags", ask_kubeflow: "/apis/v2beta1/dags"}


@pytest.mark.parametrize("ask", ASK)
def test_credentials_are_shown_to_no_other_server(ask: Callable[[str], object], servers: Callable[[], Server]) -> None:
    own, other = servers(), servers()
    own.leads[PATHS[ask]] = (302, f"{other.address}/elsewhere")
    with contextlib.suppress(DeployError):
        ask(own.address)
    assert "sesame" in str(own.asked)
    assert "sesame" not in str(other.asked)
    assert bool(other.asked) == (ask is not ask_kubeflow)


@pytest.mark.parametrize("ask", [ask_airflow, ask_github])
def test_the_same_server_is_shown_them_again(ask: Callable[[str], object], servers: Callable[[], Server]) -> None:
    own = servers()
    own.leads[PATHS[ask]] = (308, "/moved")
    assert ask(own.address) == {}
    assert [headers["Authorization"] for _, _, headers in own.asked] == ["Bearer sesame"] * 2


def test_a_page_to_log_in_at_is_none_of_kubeflows_answers(servers: Callable[[], Server]) -> None:
    own = servers()
    own.leads[PATHS[ask_kubeflow]] = (302, "/login")
    with pytest.raises(DeployError, match=r"P812[\s\S]*302 Found"):
        ask_kubeflow(own.address)


def test_a_change_does_not_become_a_question_where_an_answer_leads_elsewhere(servers: Callable[[], Server]) -> None:
    own = servers()
    own.leads["/api/v2/dags/a/dagRuns"] = (302, "/elsewhere")
    with pytest.raises(DeployError, match=r"P814[\s\S]*302"):
        AirflowApi(own.address, 3).ask("POST", "/dags/a/dagRuns", {})
    assert [method for method, _, _ in own.asked] == ["POST"]


@pytest.mark.parametrize("status", [200, 500])
def test_an_answer_that_breaks_off_is_none(status: int, servers: Callable[[], Server]) -> None:
    own = servers()
    own.answer = (status, b"")
    with pytest.raises(DeployError, match=r"P811: http://127.0.0.1:\d+ cannot be reached: IncompleteRead"):
        exchange(own.address, "GET", own.address, {})


@pytest.mark.parametrize("ask", ASK)
@pytest.mark.parametrize(
    ("status", "may_pass"), [(400, False), (401, False), (429, True), (500, True), (502, True), (503, True)]
)
def test_what_may_be_over_soon_is_told_by_its_status(
    ask: Callable[[str], object], status: int, may_pass: bool, servers: Callable[[], Server]
) -> None:
    own = servers()
    own.answer = (status, b"502 says the text")
    with pytest.raises(DeployError) as caught:
        ask(own.address)
    assert isinstance(caught.value, PassingError) == may_pass


def test_a_run_is_followed_as_long_as_its_engine_is_away_only_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    times = iter(range(0, 10_000, 100))  # each look takes 100 s
    clock = types.SimpleNamespace(monotonic=lambda: next(times), sleep=lambda _: None)
    monkeypatch.setattr(following, "time", clock)
    away = unreachable("x", "nobody home")
    looks: Iterator[bool | DeployError | None] = iter([away, away, None, away, away, True])

    def look() -> bool | None:
        found = next(looks)
        if isinstance(found, DeployError):
            raise found
        return found

    assert following.follow(look, 0)
    looks = iter([away] * 9)
    with pytest.raises(DeployError, match="nobody home"):
        following.follow(look, 0)
    looks = iter([refused("x", "gone")])
    with pytest.raises(DeployError, match="gone"):
        following.follow(look, 0)
