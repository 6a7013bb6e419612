"""A random program on which airflow-3 disagreed once with plain Python, or with the model."""

from penstock import flow, pipeline
from tests.conformance.random_steps import joined, rows, size, upto, words


@pipeline
def random_f696986fe6dd(p0: str = 'a', p1: list[list[int]] = [], p2: str = 'a') -> list[int]:
    p2 = joined(['a', 'b'])
    c1 = [[size(p0) for x4, x5 in zip(rows(0), upto(1))] for x3 in flow.parallel(words.with_options(name="named_2")(p2), 2)]
    return [1, 2]


PARAMETERS = {}
