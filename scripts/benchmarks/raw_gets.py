"""What the link gives: one object in ranges with boto3, in threads, to nowhere. A program of its own.

    python raw_gets.py BUCKET KEY... [--threads 8]

prints bytes, seconds and processor seconds as JSON. Of several objects, `p50_us` of getting one whole: one after the
other, but for the first, which opens the connection. The store and its keys come from the environment.
"""

from __future__ import annotations

import argparse
import json
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import boto3
from botocore.config import Config

_RANGE = 8 << 20


def _main() -> None:
    parser = argparse.ArgumentParser(description="Fetch one object in ranges, or several whole, and time it.")
    parser.add_argument("bucket")
    parser.add_argument("keys", nargs="+", metavar="KEY")
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
    if len(options.keys) > 1:
        print(json.dumps({"p50_us": _median_us(client, options.bucket, options.keys)}))
        return
    (key,) = options.keys
    size = client.head_object(Bucket=options.bucket, Key=key)["ContentLength"]

    def fetch(begin: int) -> int:
        span = f"bytes={begin}-{min(begin + _RANGE, size) - 1}"
        return len(client.get_object(Bucket=options.bucket, Key=key, Range=span)["Body"].read())

    with ThreadPoolExecutor(options.threads) as threads:
        begin, work = time.perf_counter(), time.process_time()
        fetched = sum(threads.map(fetch, range(0, size, _RANGE)))
        took, work = time.perf_counter() - begin, time.process_time() - work
    assert fetched == size, (fetched, size)
    print(json.dumps({"bytes": fetched, "seconds": took, "processor_seconds": work}))


def _median_us(client: Any, bucket: str, keys: list[str]) -> float:
    times = []
    for key in keys:
        begin = time.perf_counter_ns()
        client.get_object(Bucket=bucket, Key=key)["Body"].read()
        times.append((time.perf_counter_ns() - begin) / 1e3)
    return sorted(times[1:])[len(times) // 2 - 1]


if __name__ == "__main__":
    _main()
