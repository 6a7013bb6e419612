"""What random pipelines found: each program that ever failed, in the smallest form that did, or whole as it was."""

from penstock import flow, pipeline
from tests.conformance.case import Case
from tests.conformance.cases.programs import kept
from tests.conformance.random_steps import done, fails_if_even, plus, shown, size, spelled, tidied, told, words


@pipeline
def found_keys_known_later(letter: str = "b") -> dict[str, int]:
    return {f"{letter}{place}": plus(place) for place in (1, 2)}


@pipeline
def found_texts_of_lists(wanted: bool = False) -> str:
    letters = ["a"]
    for _ in range(2):
        letters.append("a" if not wanted else "")
    return shown(f"{letters!r} of {letters}")


@pipeline
def found_lengths_in_branches(wanted: bool = False) -> list[int]:
    numbers = [1, 1]
    if not wanted or len(numbers) > 2:
        numbers += [1, len(numbers)]
    return numbers


@pipeline
def found_constants_returned(numbers: list[int] = []) -> tuple[int, list[int]]:
    if numbers:
        return 1, []
    plus(0)
    return 2, [1, 2]


@pipeline
def found_a_return_in_the_middle(letters: list[str] = ["c"]) -> str:
    if not letters:
        word = spelled(1)
    elif "b" in letters:
        return "b"
    else:
        word = "a"
    for number in range(2):
        size(word)
        if number > 2:
            word = spelled(number)
    return shown(word)


@pipeline(on_failure=told, on_exit=tidied)
def found_what_undoing_gives(wanted: bool = False) -> None:
    for _ in flow.parallel(words("a b"), 1):
        done(1)
    assert wanted


@pipeline
def found_gates_nobody_could_check(limit: int = 3) -> int:
    numbers = []
    if limit == 3:
        numbers.append(fails_if_even(2))
    for number in numbers:
        assert number < limit
    if limit > 1:
        plus(1)
    return plus.with_options(name="last")(limit)


CASES = (
    Case(found_keys_known_later, "A comprehension over an ordinary list may make keys that are known later."),
    Case(found_texts_of_lists, "The text of an ordinary list holds values of the run, and no stand-ins for them."),
    Case(found_lengths_in_branches, "A list that has not grown yet can be measured in a branch."),
    Case(found_constants_returned, "Results may be constants in every arm, tuples among them."),
    Case(found_constants_returned, "In the arm that returns early, too.", {"numbers": [1]}),
    Case(found_a_return_in_the_middle, "An arm that returned need not bind what is read after the branch."),
    Case(found_a_return_in_the_middle, "What follows is skipped where it returned.", {"letters": ["b"]}),
    Case(
        found_gates_nobody_could_check,
        "What is written after gates in a loop waits for them, also where the loop had no list to go through.",
        nodes={"for": "upstream_failed", "last": "upstream_failed"},
    ),
    Case(found_what_undoing_gives, "What undoes a step may give something, in loops as well."),
    *kept(),
)
