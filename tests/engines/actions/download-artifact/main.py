import fnmatch
import os
import shutil
import sys
from pathlib import Path

name, pattern = os.environ["NAME"], os.environ["PATTERN"]
target = Path(os.environ["TARGET"] or os.environ["GITHUB_WORKSPACE"]).expanduser().absolute()
kept = sorted(Path(os.environ["STAND_IN_ARTIFACTS"]).iterdir())
if name:
    found = [artifact for artifact in kept if artifact.name == name]
    if not found:
        sys.exit(f"::error::Unable to download artifact(s): Artifact not found for name: {name}")
else:
    # Minimatch's braces, where they are the whole pattern.
    patterns = pattern[1:-1].split(",") if pattern.startswith("{") and pattern.endswith("}") else [pattern or "*"]
    found = [artifact for artifact in kept if any(fnmatch.fnmatchcase(artifact.name, each) for each in patterns)]
# One that matches goes into the folder itself, with a pattern too.
together = bool(name) or os.environ["MERGE_MULTIPLE"] == "true" or len(found) == 1
for artifact in found:
    shutil.copytree(artifact, target if together else target / artifact.name, dirs_exist_ok=True)
print(f"Total of {len(found)} artifact(s) downloaded")
with open(os.environ["GITHUB_OUTPUT"], "a") as output:
    output.write(f"download-path={target}\n")
