"""A random program on which local-inline disagreed once with plain Python, or with the model."""

from penstock import pipeline
from tests.conformance.random_steps import is_odd, perhaps, tidied, told


@pipeline(on_failure=told, on_exit=tidied)
def random_9dc3fa270ba4(p0: bool = True, p1: list[str] = []) -> str:
    for x1 in range(2):
        if 'a' in p1:
            for i2 in range(2):
                assert p0 and not p0, f"{x1:>3} of {i2}"
                v3 = perhaps(x1)
            for i4 in range(1, 4, 2):
                xs5: list[int] = [1, 0]
        else:
            for x6 in p1:
                xs7: list[int] = []
    p0 = is_odd.with_options(name="named_8")(1)
    return p1[0]


PARAMETERS = {'p0': False}
