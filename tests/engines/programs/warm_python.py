"""Does as `python` with the arguments of each job, in the job's own process: Penstock is imported once, here.

A job adds ``{"cwd": PATH, "arguments": ["-m", "penstock", ..]}``, or a script's name and its words, to what `forking`
asks for.
"""

import os
import runpy
import sys
import traceback
from pathlib import Path

import forking  # takes standard output away before anything is printed to it

from penstock import cli, compiler

# What loads a target only when it is asked for does so here, once for all jobs.
for target in compiler.targets():
    compiler.backend(target)


def observe(job):
    os.chdir(job["cwd"])
    own = Path(job["result"]).parent
    for number, name, flags in ((0, os.devnull, os.O_RDONLY), (1, own / "stdout", os.O_WRONLY | os.O_CREAT),
                                (2, own / "stderr", os.O_WRONLY | os.O_CREAT)):  # fmt: skip
        os.dup2(os.open(name, flags), number)
    sys.path[0] = job["cwd"]
    return {"code": code_of(job["arguments"])}


def code_of(arguments):
    """The exit code that Python would end with."""
    try:
        if arguments[0] == "-m":
            sys.argv = arguments[1:]
            runpy.run_module(arguments[1], run_name="__main__", alter_sys=True)
        else:
            sys.argv = arguments
            runpy.run_path(os.path.abspath(arguments[0]), run_name="__main__")
    except SystemExit as end:
        return int(end.code or 0)
    except BaseException:  # as Python does with what nobody caught
        traceback.print_exc()
        return 1
    return 0


forking.serve(observe, cli.__name__)
