"""A nursery whose run ends just after one of its slots was killed, with what that had started still there.

Called with the files that a nursery is started with: those of `worker`, the harness and `objects`.
"""

import importlib.util
import os
import signal
import subprocess
import sys

spec = importlib.util.spec_from_file_location("penstock_worker", sys.argv[1])
worker = sys.modules["penstock_worker"] = importlib.util.module_from_spec(spec)
spec.loader.exec_module(worker)

worker.harness.adopt_orphans()
heard, said = os.pipe()
slot = os.fork()
if not slot:
    stray = subprocess.Popen(
        ["sleep", "60"], start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    os.write(said, str(stray.pid).encode())
    signal.pause()
print(os.read(heard, 100).decode(), flush=True)
os.kill(slot, signal.SIGKILL)
worker._leave({slot})
