"""What holds for all tests: asserts in modules that several share tell what they compared; the matrix is kept."""

import pytest

pytest.register_assert_rewrite("tests.conformance.meaning")


def pytest_configure(config: pytest.Config) -> None:
    """Has the matrix of case by engine listen where the results of all workers come together."""
    if not hasattr(config, "workerinput"):
        from tests.conformance.matrix import Matrix

        config.pluginmanager.register(Matrix(), "penstock-matrix")
