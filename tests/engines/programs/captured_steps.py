"""Calls the captured step of each job where there is its program and the harness, which is loaded once, here.

A job adds ``{"modules": {..}, "reach": {..}, "entry": TEXT, "arguments": [..]}`` to what `forking` asks for. The
program's only argument is the harness's file.
"""

import importlib.util
import os
import sys

import forking

sys.path.pop(0)  # what lies beside this file is no part of a step's program
spec = importlib.util.spec_from_file_location("harness", sys.argv[1])
harness = importlib.util.module_from_spec(spec)
sys.modules["harness"] = harness
spec.loader.exec_module(harness)


def observe(job):
    os.chdir("/")
    harness.Program(job["modules"], job["reach"]).install()
    return {"shown": repr(harness.find_type(job["entry"])(*job["arguments"]))}


forking.serve(observe, harness.__name__)
