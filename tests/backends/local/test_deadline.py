"""A time limit within this process beside the alarms of others, such as a test runner's own limit."""

import math
import signal
import subprocess
import sys
import time

import pytest

from penstock_backends.local.deadline import TimeIsUpError, deadline


@pytest.fixture
def alarm():
    """Sets an alarm as another library would; what rang is in the list."""
    rung = []
    before = signal.getsignal(signal.SIGALRM), signal.getitimer(signal.ITIMER_REAL)

    def set_alarm(seconds, interval=0.0, raises=None):
        def ring(number, frame):
            rung.append(number)
            if raises:
                raise raises

        signal.signal(signal.SIGALRM, ring)
        signal.setitimer(signal.ITIMER_REAL, seconds, interval)
        return rung

    yield set_alarm
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before[0])
    signal.setitimer(signal.ITIMER_REAL, *before[1])


def wait(seconds, until=lambda: False):
    end = time.monotonic() + seconds
    while time.monotonic() < end and not until():
        time.sleep(0.001)


def test_time_that_is_up_passes_the_authors_except():
    def careless():
        try:
            wait(60)
        except Exception:  # noqa: BLE001  # as authors write
            pytest.fail("it was caught")

    began = time.monotonic()
    with pytest.raises(TimeIsUpError), deadline(0.02):
        careless()
    assert time.monotonic() - began < 30


def test_what_ends_in_time_goes_on_and_no_alarm_is_left():
    with deadline(60):
        pass
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)


def test_an_outer_alarm_is_armed_again_with_what_was_left_of_it(alarm):
    rung = alarm(0.5, interval=70.0)
    handler = signal.getsignal(signal.SIGALRM)
    with deadline(60):
        wait(0.02)
    left, interval = signal.getitimer(signal.ITIMER_REAL)
    assert 0 < left < 0.49
    assert interval == 70.0
    assert signal.getsignal(signal.SIGALRM) is handler
    wait(30, until=lambda: rung)
    assert rung == [signal.SIGALRM]


def test_an_outer_alarm_that_is_due_first_rings_on_time_and_the_deadline_still_holds(alarm):
    rung = alarm(0.02)
    seen = []

    def body():
        wait(30, until=lambda: rung)
        seen.extend(rung)
        wait(30)

    with pytest.raises(TimeIsUpError), deadline(0.5):
        body()
    assert rung == seen == [signal.SIGALRM]


def test_an_outer_alarm_that_raises_raises_in_the_body(alarm):
    alarm(0.02, raises=KeyError("the test took too long"))
    with pytest.raises(KeyError), deadline(60):
        wait(30)


def test_an_outer_alarm_that_repeats_goes_on_repeating(alarm):
    rung = alarm(0.01, interval=0.01)
    with deadline(60):
        wait(30, until=lambda: len(rung) >= 2)
        assert len(rung) >= 2
    seen = len(rung)
    wait(30, until=lambda: len(rung) > seen)
    assert len(rung) > seen


def test_an_outer_alarm_without_a_handler_ends_the_process_as_before():
    program = """
import signal, time
from penstock_backends.local.deadline import deadline
signal.setitimer(signal.ITIMER_REAL, 0.05)
with deadline(60):
    time.sleep(60)
"""
    ended = subprocess.run([sys.executable, "-c", program], timeout=60, check=False)
    assert ended.returncode == -signal.SIGALRM


def test_no_bound_touches_no_alarm(alarm):
    alarm(60)
    handler = signal.getsignal(signal.SIGALRM)
    with deadline(math.inf):
        assert signal.getsignal(signal.SIGALRM) is handler
