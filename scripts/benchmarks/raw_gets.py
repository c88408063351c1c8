"""What the link gives: one object in ranges with boto3, in threads, to nowhere. A program of its own.

    python raw_gets.py BUCKET KEY [--threads 8]

prints bytes and seconds as JSON. The store and its keys come from the environment.
"""

from __future__ import annotations

import argparse
import json
import time
from concurrent.futures import ThreadPoolExecutor

import boto3
from botocore.config import Config

_RANGE = 8 << 20


def _main() -> None:
    parser = argparse.ArgumentParser(description="Fetch one object in ranges and time it.")
    parser.add_argument("bucket")
    parser.add_argument("key")
    parser.add_argument("--threads", type=int, default=8)
    options = parser.parse_args()
    client = boto3.client(
        "s3",
        config=Config(
            max_pool_connections=options.threads,
            s3={"addressing_style": "path"},
            response_checksum_validation="when_required",
        ),
    )
    size = client.head_object(Bucket=options.bucket, Key=options.key)["ContentLength"]

    def fetch(begin: int) -> int:
        span = f"bytes={begin}-{min(begin + _RANGE, size) - 1}"
        return len(client.get_object(Bucket=options.bucket, Key=options.key, Range=span)["Body"].read())

    with ThreadPoolExecutor(options.threads) as threads:
        begin = time.perf_counter()
        fetched = sum(threads.map(fetch, range(0, size, _RANGE)))
        took = time.perf_counter() - begin
    assert fetched == size, (fetched, size)
    print(json.dumps({"bytes": fetched, "seconds": took}))


if __name__ == "__main__":
    _main()
