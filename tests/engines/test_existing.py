"""What exists already in a bucket, read where there is no Penstock: by an emitted file, from a server of objects."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from penstock import Dataset, Model, existing, pipeline, step
from tests.engines.environments import environment
from tests.engines.objects import CREDENTIALS, object_server
from tests.engines.processes import bare_environment, run

pytestmark = [pytest.mark.engine, pytest.mark.slow, pytest.mark.xdist_group("objects")]

PUT = """
import boto3, sys
client = boto3.client("s3", endpoint_url=sys.argv[1])
for key in sys.argv[2:]:
    client.put_object(Bucket="team", Key=key, Body=key.encode())
"""


@step
def told(rows: Path, model: Path) -> None:
    inner = sorted(each.relative_to(model.parent).as_posix() for each in model.rglob("*") if each.is_file())
    print("told:", rows.name, rows.read_text(), inner)


@pipeline
def reading(where: str) -> None:
    told(existing("s3://team/lake/rows of today%20.csv", Dataset[Path]), existing(where, Model[Path], scheme="s3"))


def test_an_object_and_all_below_a_prefix_come_from_a_bucket(tmp_path):
    python = environment("objects").python
    with object_server() as (_, address):
        environ = bare_environment(**CREDENTIALS, FSSPEC_S3_ENDPOINT_URL=address)
        keys = ["lake/rows of today%20.csv", "models/v7/weights/0", "models/v7/card.md", "models/v70", "models/v7/"]
        subprocess.run([python, "-c", PUT, address, *keys], env=environ, check=True)
        for path, text in reading.compile("local").items():
            (tmp_path / path).write_text(text)
        command = [python, "-P", "-s", "reading.py", "--where"]
        found = run([*command, "s3://team/models/v7"], tmp_path, environ, 120)
        missing = run([*command, "s3://team/models/v8"], tmp_path, environ, 120)
    assert found.code == 0, found.stderr
    name = "rows of today%20.csv"
    logs = "".join(each.read_text() for each in tmp_path.rglob("log.txt"))
    assert f"told: {name} lake/{name} ['v7/card.md', 'v7/weights/0']" in logs
    assert missing.code == 1
    assert "there is nothing at s3://team/models/v8" in missing.stdout + missing.stderr
