"""What the engines' helper programs share: a forked process for each job, and JSON lines for questions and answers.

A job is ``{"result": PATH, "log": PATH, "environ": {..}, "seconds": N, ..}``. Its process has a session, a working
directory (that of ``result``), environment variables and a log of its own; what it observed is in ``result``
afterwards. The answer says how the process ended: ``{"ended": "exited" | "timed out", "code": INT, "seconds": N}``.
"""

import contextlib
import json
import os
import signal
import sys
import time
import traceback
from pathlib import Path

# Engines print and log to standard output, which is the answers' own channel.
ANSWERS = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)


def serve(observe, ready):
    """Answer jobs until standard input ends. ``observe`` turns a job into JSON, in the job's own process."""
    say({"ready": ready})
    for line in sys.stdin:
        say(carry_out(observe, json.loads(line)))


def say(message):
    ANSWERS.write(json.dumps(message) + "\n")
    ANSWERS.flush()


def carry_out(observe, job):
    start = time.monotonic()
    child = os.fork()
    if child == 0:
        be_the_job(observe, job)
    ended, status = "timed out", -signal.SIGKILL
    while time.monotonic() < start + job["seconds"]:
        done, waited = os.waitpid(child, os.WNOHANG)
        if done:
            ended, status = "exited", os.waitstatus_to_exitcode(waited)
            break
        time.sleep(0.005)
    # What the job left behind, and the job itself where its time is up.
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(child, signal.SIGKILL)
    if ended == "timed out":
        os.waitpid(child, 0)
    return {"ended": ended, "code": int(status), "seconds": time.monotonic() - start}


def be_the_job(observe, job):
    """Observe in this forked process, and end it."""
    code = 1
    try:
        os.setsid()
        log = os.open(job["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(log, 1)
        os.dup2(log, 2)
        os.environ.update(job["environ"])
        result = Path(job["result"])
        os.chdir(result.parent)
        part = result.with_suffix(".part")
        part.write_text(json.dumps(observed(observe, job)))
        part.rename(result)
        code = 0
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def observed(observe, job):
    try:
        return observe(job)
    except BaseException:  # what a job raises is an observation too
        return {"crash": traceback.format_exc()}
