"""A slot that is asked to end just after it has forked an attempt, which has begun and started something.

Called with the files that a nursery is started with, those of `worker`, the harness and `objects`, and a folder.
"""

import importlib.util
import os
import signal
import subprocess
import sys

spec = importlib.util.spec_from_file_location("penstock_worker", sys.argv[1])
worker = sys.modules["penstock_worker"] = importlib.util.module_from_spec(spec)
spec.loader.exec_module(worker)

heard, said = os.pipe()
fork = os.fork


def attend(slot, line, parent):
    os.setsid()
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    worker._end_with(parent, signal.SIGKILL)
    stray = subprocess.Popen(
        ["sleep", "60"], start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    os.write(said, str(stray.pid).encode())
    signal.pause()


def fork_and_be_asked():
    child = fork()
    if child:
        print(os.read(heard, 100).decode(), flush=True)
        os.kill(os.getpid(), signal.SIGTERM)
    return child


line, connection = worker.socket.socketpair()
places = {"objects": sys.argv[4], "drafts": sys.argv[4]}
slot = worker.Slot(connection, places, None, None, 0)
worker.Slot._attend = attend
os.fork = fork_and_be_asked
slot._fork(line)
