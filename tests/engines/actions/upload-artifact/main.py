import glob
import os
import shutil
import sys
from pathlib import Path

NAME = os.environ["NAME"]
HIDDEN = os.environ["INCLUDE_HIDDEN_FILES"] == "true"
FORBIDDEN = set('":<>|*?\r\n\\/')


def main():
    if not NAME or FORBIDDEN & set(NAME):
        sys.exit(f"::error::the artifact name {NAME!r} is not valid")
    lines = [line.strip() for line in os.environ["PATHS"].splitlines() if line.strip()]
    wanted = [Path(os.path.abspath(Path(line).expanduser())) for line in lines if not line.startswith("!")]
    unwanted = {file for line in lines if line.startswith("!") for file in files_of(Path(os.path.abspath(line[1:])))}
    files = [file for pattern in wanted for file in files_of(pattern) if file not in unwanted]
    if files:
        keep(dict.fromkeys(files), root_of(wanted, files))
    else:
        say_nothing_found()


def files_of(pattern):
    """The files that a path or pattern stands for: a folder stands for all below it, and empty folders are left out."""
    for found in sorted(glob.glob(str(pattern), recursive=True, include_hidden=True)):
        yield from below(Path(found))


def below(path):
    if path.name.startswith(".") and not HIDDEN:
        return
    if path.is_dir():
        for child in sorted(path.iterdir()):
            yield from below(child)
    elif path.exists():
        yield path


def root_of(wanted, files):
    """The folder that names in the artifact are relative to."""
    searched = [literal_part(pattern) for pattern in wanted]
    if len(searched) > 1:
        return Path(os.path.commonpath(searched))
    return searched[0].parent if searched == files else searched[0]


def literal_part(pattern):
    while glob.has_magic(str(pattern)):
        pattern = pattern.parent
    return pattern


def say_nothing_found():
    message = "No files were found with the provided path. No artifacts will be uploaded."
    policy = os.environ["IF_NO_FILES_FOUND"]
    if policy == "error":
        sys.exit(f"::error::{message}")
    print(f"::warning::{message}" if policy == "warn" else message)


def keep(files, root):
    target = Path(os.environ["STAND_IN_ARTIFACTS"], NAME)
    if os.environ["OVERWRITE"] == "true":
        shutil.rmtree(target, ignore_errors=True)
    try:
        target.mkdir()
    except FileExistsError:
        sys.exit(f"::error::(409) Conflict: an artifact with the name {NAME} already exists on the workflow run")
    for file in files:
        copy = target / file.relative_to(root)
        copy.parent.mkdir(parents=True, exist_ok=True)
        # The archive keeps no permissions: an executable comes back without its bit.
        shutil.copyfile(file, copy)
    with open(os.environ["GITHUB_OUTPUT"], "a") as output:
        output.write(f"artifact-id={sum(1 for _ in target.parent.iterdir())}\n")


main()
