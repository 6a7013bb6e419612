"""What holds for all tests: asserts in modules that several share tell what they compared; the matrix is kept."""

import signal

import pytest

pytest.register_assert_rewrite("tests.conformance.meaning")


def pytest_configure(config: pytest.Config) -> None:
    """Has the matrix of case by engine listen where the results of all workers come together.

    What a shell starts in the background ignores Ctrl-C, and what `nohup` starts a terminal that is closed: tests send
    both, and their processes would inherit that.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
    if not hasattr(config, "workerinput"):
        from tests.conformance.matrix import Matrix

        config.pluginmanager.register(Matrix(), "penstock-matrix")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Has what takes long begin first, so that no process is left with it while the others have ended."""
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)
