import os
import platform
import sys
import sysconfig
import venv
from pathlib import Path

asked, there = os.environ["ASKED"], platform.python_version()
if asked and not f"{there}.".startswith(f"{asked}."):
    sys.exit(f"::error::Python {asked} is not here, only {there}")
# What a job installs stays in the job, beside the packages that all of them have.
own = Path(os.environ["RUNNER_TEMP"]).absolute() / "python"
venv.create(own, symlinks=True)
packages = sysconfig.get_path("purelib", "venv", {"base": str(own), "platbase": str(own)})
Path(packages, "science.pth").write_text(sysconfig.get_path("purelib"))
with open(os.environ["GITHUB_PATH"], "a") as path:
    path.write(f"{own / 'bin'}\n")
with open(os.environ["GITHUB_OUTPUT"], "a") as output:
    output.write(f"python-version={there}\npython-path={own / 'bin' / 'python'}\n")
