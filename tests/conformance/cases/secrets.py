"""Secrets: a step has their values, and nothing that an engine shows does."""

import hashlib
import os
import subprocess
import sys

from penstock import pipeline, step
from tests.conformance.case import Case

HIDDEN = {"CONFORMANCE_PASSWORD": "conformance/password", "CONFORMANCE_TOKEN": "conformance-token"}


@step(secrets=HIDDEN)
def proof(salt: str) -> list[str]:
    found = [os.environ["CONFORMANCE_PASSWORD"], os.environ["CONFORMANCE_TOKEN"]]
    print(f"the password is {found[0]}.", flush=True)
    child = "import os; print('the token is ' + os.environ['CONFORMANCE_TOKEN'] + '.')"
    subprocess.run([sys.executable, "-c", child], check=True)
    return [hashlib.sha256((salt + each).encode()).hexdigest() for each in found]


@step(secrets=HIDDEN)
def refused(before: list[str]) -> None:
    raise ConnectionError(f"db://me:{os.environ['CONFORMANCE_PASSWORD']}@host")


@pipeline
def secrets_are_given_and_not_shown(salt: str = "salt") -> None:
    refused(proof(salt))


CASES = (
    Case(
        secrets_are_given_and_not_shown,
        "A secret reaches the steps that ask for it, and their log and errors show *** instead.",
        nodes={"proof": "succeeded", "refused": "failed"},
        shows=("the password is ***.", "db://me:***@host"),
    ),
)
