"""Puts cases to a model, grades the answers side by side, and passes only what is no worse than before.

Everything here runs as it is, with the standard library. Have `answer` ask your own model, `cases` read your own cases,
and `grade` judge as you would.
"""

from dataclasses import dataclass
from pathlib import Path

from penstock import Markdown, Retry, log_metric, pipeline, step


@dataclass(frozen=True)
class Case:
    """A question, and what a good answer holds."""

    question: str
    expected: str


@dataclass(frozen=True)
class Grade:
    """How an answer was judged, from 0 to 1."""

    question: str
    answer: str
    score: float


@step
def cases() -> list[Case]:
    """What is asked."""
    return [
        Case("What is 6 times 7?", "42"),
        Case("What is 10 plus 5?", "15"),
        Case("What is 9 minus 4?", "5"),
        Case("What is 8 over 2?", "4"),
    ]


@step(retry=Retry(max_retries=2, delay=2, backoff=2), timeout=60)
def answer(case: Case, model: str) -> str:
    """What the model says; here one that can calculate, but does not know every word for it."""
    words = {"times": "*", "plus": "+", "minus": "-"}
    left, sign, right = case.question.removeprefix("What is ").removesuffix("?").split()
    results = {"*": int(left) * int(right), "+": int(left) + int(right), "-": int(left) - int(right)}
    return f"{model}: {results.get(words.get(sign, ''), 'I do not know')}"


@step
def grade(case: Case, said: str) -> Grade:
    """1 where the answer holds what is expected, else 0."""
    return Grade(case.question, said, float(case.expected in said.split()))


@step
def mean(grades: list[Grade]) -> float:
    """The mean score."""
    score = sum(each.score for each in grades) / len(grades)
    log_metric("score", score)
    return score


@step
def report(model: str, grades: list[Grade], score: float) -> Markdown[Path]:
    """A page with every answer, the worst first."""
    rows = [f"| {each.score:.2f} | {each.question} | {each.answer} |" for each in sorted(grades, key=by_score)]
    page = Path("report.md")
    page.write_text(
        "\n".join([f"# {model}: {score:.2f}", "", "| score | question | answer |", "|---|---|---|", *rows, ""])
    )
    return page


def by_score(given: Grade) -> float:
    """What grades are sorted by."""
    return given.score


@pipeline(tags=["evaluation"])
def evaluation(model: str = "calculator", baseline: float = 0.7) -> Markdown[Path]:
    """Grades every answer, reports them, and fails where the model is worse than the baseline."""
    grades = [grade(case, answer(case, model)) for case in cases()]
    score = mean(grades)
    page = report(model, grades, score)
    assert score >= baseline, f"{model} is worse than the baseline of {baseline}"
    return page
