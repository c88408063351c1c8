"""Credentials that end while a mount lives: EACCES until there are others, which it finds by itself."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from servers.faultproxy import FaultProxy, RequestSeen
from servers.faults import Status
from servers.rgw import RadosGateway
from views.living import until
from views.outcomes import read_within

from penstock.mountpoint.known_mounts import MountInfo
from penstock.repo.settings.settings import Settings

pytestmark = [pytest.mark.fuse, pytest.mark.s3]
Mount = Callable[..., MountInfo]

EACCES = "Permission denied"
EXPIRED = b"<?xml version='1.0'?><Error><Code>ExpiredToken</Code><Message>The token has expired.</Message></Error>"
FIRST = ("AKFIRSTFIRSTFIRST000", "first-secret-first-secret-first-secret00")
SECOND = ("AKSECONDSECOND000000", "second-secret-second-secret-second-secre")


def key_of(seen: RequestSeen) -> str:
    """Return the access key that a request was signed with."""
    return seen.headers["authorization"].partition("Credential=")[2].partition("/")[0]


def write_credentials(path: Path, key: tuple[str, str]) -> None:
    """Replace a file of credentials, as programs that fetch new ones do."""
    new = path.with_suffix(".new")
    new.write_text(f"[default]\naws_access_key_id = {key[0]}\naws_secret_access_key = {key[1]}\n")
    os.replace(new, path)


@pytest.fixture
def first_key(gateway: RadosGateway) -> Iterator[None]:
    """Let FIRST be good until a test removes it."""
    gateway.add_key(*FIRST)
    yield
    gateway.remove_key(FIRST[0])


@pytest.fixture
def second_key(gateway: RadosGateway) -> Iterator[None]:
    gateway.add_key(*SECOND)
    yield
    gateway.remove_key(SECOND[0])


@pytest.fixture
def remote(behind_proxy: Callable[[float], Settings], monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Push everything as the owner; return settings for whoever the files of credentials name."""
    settings = behind_proxy(10.0)
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    return settings


@pytest.mark.usefixtures("second_key")
def test_a_file_of_credentials_that_is_replaced(
    gateway: RadosGateway, remote: Settings, mounts: Mount, source: Path
) -> None:
    file = Path(os.environ["AWS_SHARED_CREDENTIALS_FILE"])
    gateway.add_key(*FIRST)
    write_credentials(file, FIRST)
    info = mounts("lab/data", settings=remote)
    place = Path(info.mountpoint)
    assert read_within(30, place / "small.txt") == b"hello world\n"
    gateway.remove_key(FIRST[0])
    assert read_within(30, place / "big.bin") == EACCES
    assert read_within(30, place / "small.txt") == b"hello world\n"  # it is here
    assert info.log is not None
    assert "AWS_ACCESS_KEY_ID or the profile" in Path(info.log).read_text()
    write_credentials(file, SECOND)
    # Looked for once a second at the most, when a request is refused.
    until(lambda: read_within(30, place / "big.bin") == (source / "big.bin").read_bytes(), "the new ones are found")


@pytest.mark.usefixtures("first_key")
def test_credentials_replaced_before_they_end_are_not_even_noticed(
    gateway: RadosGateway, remote: Settings, mounts: Mount, source: Path
) -> None:
    file = Path(os.environ["AWS_SHARED_CREDENTIALS_FILE"])
    gateway.add_key(*SECOND)
    write_credentials(file, SECOND)
    info = mounts("lab/data", settings=remote)
    write_credentials(file, FIRST)
    gateway.remove_key(SECOND[0])
    assert read_within(30, Path(info.mountpoint, "big.bin")) == (source / "big.bin").read_bytes()


@pytest.mark.usefixtures("first_key", "second_key")
def test_a_program_that_gives_credentials(
    remote: Settings, mounts: Mount, source: Path, fault_proxy: FaultProxy, tmp_path: Path
) -> None:
    """The server calls them expired though their program has not said so: a clock is wrong, a session was ended."""
    program, answer = tmp_path / "credentials.py", tmp_path / "credentials.json"
    program.write_text(f"print(open({str(answer)!r}).read())\n")
    Path(os.environ["AWS_CONFIG_FILE"]).write_text(f"[default]\ncredential_process = {sys.executable} {program}\n")

    def give(key: tuple[str, str]) -> None:
        found = {"Version": 1, "AccessKeyId": key[0], "SecretAccessKey": key[1]}
        answer.write_text(json.dumps(found | {"Expiration": "2099-01-01T00:00:00Z"}))

    give(FIRST)
    info = mounts("lab/data", settings=remote)
    expired = fault_proxy.fail(
        fault=Status(400, EXPIRED), match=lambda method, path: method == "GET" and "/data/" in path, times=10_000
    )
    path = Path(info.mountpoint, "big.bin")
    assert read_within(30, path) == EACCES
    assert expired.struck > 0
    assert {key_of(seen) for seen in fault_proxy.requests} == {FIRST[0]}
    give(SECOND)
    until(
        lambda: read_within(30, path) == EACCES and key_of(fault_proxy.requests[-1]) == SECOND[0],
        "the new ones are found",
    )
    fault_proxy.heal()
    assert read_within(30, path) == (source / "big.bin").read_bytes()
    assert key_of(fault_proxy.requests[-1]) == SECOND[0]
