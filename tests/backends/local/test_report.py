"""The report of a run: what it tells, and that nothing a step says can become anything but text."""

import html.parser
import json

import pytest

from penstock import Retry, current_attempt, log_metric, pipeline, step
from penstock.logs import plain
from penstock_backends.local import LocalBackend
from penstock_backends.local.options import RunOptions
from penstock_backends.local.report import report_of
from penstock_backends.local.report.charts import Bar, timeline, trend
from penstock_backends.local.report.logs import Logs, readable
from penstock_backends.local.report.trends import trends_of

NASTY = "</script><script>alert(1)</script><img src=x onerror=alert(2)> & \x1b[31mred\x1b[0m"


class Page(html.parser.HTMLParser):
    """The elements of a page, its visible text, and what its elements refer to."""

    def __init__(self, text):
        super().__init__()
        self.elements, self.links, self.ids, self.texts, self._hidden = [], [], set(), [], 0
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.elements.append(tag)
        self._hidden += tag in ("script", "style")
        for name, value in attrs:
            assert not name.startswith("on")
            if name in ("href", "src", "xlink:href", "action"):
                self.links.append(value)
            if name == "id":
                self.ids.add(value)

    def handle_endtag(self, tag):
        self._hidden -= tag in ("script", "style")

    def handle_data(self, data):
        if not self._hidden:
            self.texts.append(data)

    @property
    def text(self):
        return " ".join(" ".join(self.texts).split())


@step
def load(path: str) -> int:
    """Reads the rows."""
    print(NASTY)
    return len(path)


@step(retry=Retry(1))
def train(rows: int, depth: int) -> float:
    print("attempt", current_attempt(), "of depth", depth)
    if current_attempt() == 1 and depth == 2:
        raise OSError("the disk was busy")
    log_metric("accuracy", depth / 10)
    return depth / 10


@step
def least(scores: list[float]) -> float:
    return min(scores)


@step
def deploy(score: float, fails: bool) -> str:
    if fails:
        raise ValueError(NASTY)
    return f"{score}"


@step
def tell(what: str) -> None:
    pass


@pipeline
def churn(path: str = "<b>rows</b>", depths: list[int] = [1, 2, 3], floor: float = 0.2, fails: bool = False) -> str:
    """Finds out who leaves."""
    scores = [train(load(path), depth) for depth in depths]
    best = least(scores)
    assert best < floor, "too good to be true"
    done = deploy(best, fails)
    tell(done)
    return done


def reported(store, run="latest"):
    history = LocalBackend().history(RunOptions(store=store))
    return report_of(history, history.find(run))


@pytest.fixture
def failed(tmp_path):
    churn.run(fails=True, store=tmp_path, max_workers=1)
    return reported(tmp_path)


def test_a_report_tells_what_happened(failed):
    page = Page(failed)
    for said in (
        "Finds out who leaves.",
        "1 failed",
        "1 upstream failed",
        "the disk was busy",
        "2 attempts",
        "attempt 2 of depth 2",
        "Reads the rows.",
        "3 items",
        "accuracy of train[2]",
        "floor = 0.2",
        "in deploy",
    ):
        assert said in page.text, said
    assert "not reached" not in page.text


def test_whatever_a_step_says_is_text(failed):
    page = Page(failed)
    assert page.elements.count("script") == 1
    assert "img" not in page.elements
    assert "b" not in page.elements
    assert NASTY.replace("\x1b[31m", "").replace("\x1b[0m", "") in page.text
    assert "\x1b" not in failed


def test_a_report_refers_to_nothing_but_itself(failed):
    page = Page(failed)
    assert {link for link in page.links if not link.startswith("#")} == {"data:,"}
    assert {link[1:] for link in page.links if link.startswith("#")} <= page.ids
    assert "default-src &#39;none&#39;" in failed


def test_only_its_own_script_and_style_may_run(failed):
    import base64
    import hashlib
    import re

    for tag in ("script", "style"):
        body = re.search(rf"<{tag}>(.*?)</{tag}>", failed, re.DOTALL)[1]
        digest = base64.b64encode(hashlib.sha256(body.encode()).digest()).decode()
        assert f"{tag}-src &#39;sha256-{digest.replace('+', '&#43;')}" in failed.replace("+", "&#43;")
    assert " style=" not in failed


def test_figures_are_shown_beside_those_of_earlier_runs_of_the_same_pipeline(tmp_path):
    for depths in ([1, 2], [1, 4], [1, 5]):
        churn.run(depths=depths, store=tmp_path, inline=True)
    history = LocalBackend().history(RunOptions(store=tmp_path))
    run = history.find("latest")
    trends = {(each.name, each.step): each for each in trends_of(history, run, history.nodes(run))}
    assert trends["accuracy", "train[1]"].value == "0.5"
    assert trends["accuracy", "train[1]"].change == "+25.0 %"
    assert trends["accuracy", "train[0]"].change == "unchanged"
    assert trends["accuracy", "train[1]"].picture.count("<circle") == 3
    assert ("duration", "") in trends
    first = list(history.runs())[-1]
    assert [each.change for each in trends_of(history, first, history.nodes(first))] == ["", ""]


def test_a_run_that_was_interrupted_has_a_report_too(tmp_path):
    folder = churn.run(store=tmp_path, inline=True).folder
    journal = folder / "events.jsonl"
    lines = journal.read_text().splitlines()
    until = next(number for number, line in enumerate(lines) if json.loads(line).get("node") == "deploy")
    journal.write_text("\n".join(lines[: until + 1]) + '\n{"time": 1, "ev')
    page = Page(reported(tmp_path))
    assert "deploy interrupted" in page.text
    assert "not reached" in page.text
    assert "deploy 0 ms" not in page.text


def test_what_was_noticed_while_the_run_went_on_is_told(tmp_path):
    journal = churn.run(store=tmp_path, inline=True).folder / "events.jsonl"
    lines = journal.read_text().splitlines()
    said = {"event": "flagged", "node": "deploy", "what": "duration", "value": 2, "threshold": 1, "text": "slow <b>"}
    noticed = json.dumps({**said, "time": json.loads(lines[0])["time"] + 2.5})
    journal.write_text("\n".join([*lines[:-1], noticed, lines[-1]]) + "\n")
    assert "after 2.5 s slow <b> deploy" in Page(reported(tmp_path)).text
    assert "Noticed" in Page(reported(tmp_path)).text


def test_a_cached_step_shows_what_was_printed_when_it_was_computed_and_in_which_run(tmp_path):
    first = churn.run(store=tmp_path, max_workers=1)
    again = churn.run(store=tmp_path, inline=True)
    assert again["train[1]"].state.value == "cached"
    text = Page(reported(tmp_path)).text
    assert f"Attempt 2 succeeded, in run {first.id}, " in text
    assert "attempt 2 of depth 2" in text
    assert "attempt 1 of depth 2" not in text


def test_a_report_without_the_spec_tells_the_rest(tmp_path):
    (churn.run(store=tmp_path, inline=True).folder / "spec.json").unlink()
    page = Page(reported(tmp_path))
    assert "graph" not in page.ids
    assert "deploy" in page.text


def test_a_long_log_is_cut_at_a_line_and_says_where_the_rest_is(tmp_path):
    file = tmp_path / "train.1.log"
    file.write_text("".join(f"line {number}\n" for number in range(10_000)))
    logs = Logs(most_of_one=1000, most_of_all=1500)
    first, second, third = (logs.read(file) for _ in range(3))
    assert first.text.endswith("line 9999")
    assert first.text.startswith("line ")
    assert first.left_out + len(first.text) + 1 == file.stat().st_size
    assert len(second.text) < 600
    assert (third.text, third.left_out, third.file) == ("", file.stat().st_size, str(file))
    file.write_text("")
    assert Logs().read(file) is None
    assert Logs().read(tmp_path / "none") is None


def test_of_a_long_message_the_middle_is_left_out():
    assert readable("short \x1b[1mand\x1b[0m bold") == "short and bold"
    cut = readable("a" * 5000 + "b" * 7000 + "c" * 5000)
    assert cut == "a" * 5000 + "\n... 7000 characters are left out here ...\n" + "c" * 5000


def test_of_a_log_only_what_was_to_be_seen_is_left():
    assert plain("\x1b[1;31mred\x1b[0m \x1b]8;;http://x\x07link\x1b]8;;\x07") == "red link"
    assert plain("10 %\r50 %\r100 %\r\ndone\r\n") == "100 %\ndone"
    assert plain("a\x00b\x08c\tz\x7f\x9b") == "a�b�c\tz��"


def test_attempts_that_ran_at_one_time_stand_in_lanes_of_their_own():
    bars = [
        Bar(str(number), "succeeded", begins, ends, "#", "")
        for number, (begins, ends) in enumerate([(0, 4), (1, 2), (2, 3), (1.5, 5)])
    ]
    drawn = timeline(bars, 5)
    assert 'height="94"' in drawn
    assert drawn.count("<rect") == 4
    assert timeline([Bar("x", "failed", 0, 0, "#", "")], 0).count("<rect") == 1


def test_a_line_leaves_out_runs_without_the_figure():
    drawn = trend([1.0, None, float("nan"), 3.0], ["succeeded"] * 4, list("abcd"))
    assert drawn.count("<circle") == 2
    assert trend([None], [""], [""]) == ""


@pytest.mark.slow
def test_a_large_run_has_a_report_of_bounded_size(tmp_path):
    churn.run(depths=list(range(600)), store=tmp_path, inline=True)
    text = reported(tmp_path)
    page = Page(text)
    assert len(text) < 2_000_000
    assert page.elements.count("details") == 1000
    assert "accuracy of 600 calls of train" in page.text
    assert "more are left out here" in page.text
