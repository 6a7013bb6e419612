import os
import platform
import sys
from pathlib import Path

asked, there = os.environ["ASKED"], platform.python_version()
if asked and not f"{there}.".startswith(f"{asked}."):
    sys.exit(f"::error::Python {asked} is not here, only {there}")
with open(os.environ["GITHUB_PATH"], "a") as path:
    path.write(f"{Path(sys.executable).parent}\n")
with open(os.environ["GITHUB_OUTPUT"], "a") as output:
    output.write(f"python-version={there}\npython-path={sys.executable}\n")
