"""Stores objects as S3 does, in memory, until its standard input ends. Prints its address once it can be used."""

import sys

import boto3
from moto.server import ThreadedMotoServer


def main() -> None:
    """Serves, with one bucket: ``team``."""
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    address = f"http://{host}:{port}"
    boto3.client("s3", endpoint_url=address, region_name="us-east-1").create_bucket(Bucket="team")
    print(address, flush=True)
    sys.stdin.read()
    server.stop()


if __name__ == "__main__":
    main()
