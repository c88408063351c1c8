"""Push and read on the real S3 server, with nothing set but the AWS variables, and through a proxy that breaks it."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from servers.faultproxy import FaultProxy
from servers.faults import FlipByte, FlipRequestByte, Reset, Stall, Status, Truncate

from penstock.errors import ConflictError, IntegrityError, NotFoundError, StoreUnreachableError
from penstock.manifest.entry import BLOCK_SIZE
from penstock.progress import SILENT
from penstock.repo.push.push import push
from penstock.repo.read.snapshot import Snapshot, open_snapshot
from penstock.repo.settings.handle import parse_handle
from penstock.repo.settings.remote import Remote
from penstock.repo.write.publish import Authorship

World = Any  # see conftest

pytestmark = pytest.mark.s3

LARGE = random.Random(1).randbytes(5 * BLOCK_SIZE + 17)
CONTENT = {b"large": LARGE, b"empty-directory": None, b"na\xffme\n/\xc3\xa9": b"1"} | {
    b"d%d/%d" % (number % 5, number): b"small %d" % number for number in range(40)
}


def test_the_main_job(s3_world: World) -> None:
    directory = s3_world.plant(CONTENT | {b"link": s3_world.Link(b"large"), b"run": s3_world.Executable(b"#!")})
    report = s3_world.push(directory, tag="v1", message="first")
    assert report.objects_uploaded == 2
    assert report.metadata_objects_uploaded == 1
    for ref in (None, "main", "v1", report.commit.hex()[:7], report.top_hash.hex()):
        snapshot = s3_world.open(ref)
        assert snapshot.top_hash == report.top_hash == s3_world.hash(directory)
    assert s3_world.read_back(snapshot) == s3_world.read_back(s3_world.open(cached=False))
    assert s3_world.read_back(snapshot)[b"large"] == LARGE
    again = s3_world.push(directory, settings=s3_world.machine("other"))
    assert (again.commit, again.bytes_uploaded, again.metadata_bytes_uploaded) == (None, 0, 0)
    assert snapshot.physical(snapshot.find("large"))[0][0].startswith(f"{s3_world.bucket}/.penstock/data/")


def test_below_a_prefix(s3_world: World) -> None:
    directory = s3_world.plant(CONTENT)
    remote = Remote(name="lab", url=f"{s3_world.bucket}/deep/down")
    settings = replace(s3_world.settings, remotes={"lab": remote})
    report = push(directory, parse_handle("lab/things"), settings, Authorship("a", "", "push"), SILENT)
    snapshot = open_snapshot("lab/things", settings)
    try:
        assert snapshot.top_hash == report.top_hash
        assert s3_world.read_back(snapshot) == CONTENT
    finally:
        snapshot.close()
    assert s3_world.keys("deep/down/.penstock/") == s3_world.keys("")
    with pytest.raises(NotFoundError):
        s3_world.open()


def test_markers_of_folders_do_no_harm(s3_world: World, gateway: Any) -> None:
    """Consoles and some tools make empty objects that end in a slash."""
    directory = s3_world.plant({b"a": b"1"})
    s3_world.push(directory, tag="v1")
    bucket = s3_world.bucket.removeprefix("s3://")
    for folder in (
        "",
        "datasets/",
        "datasets/things/",
        "datasets/things/heads/main/",
        "datasets/things/tags/",
        "data/",
    ):
        assert gateway.request("PUT", f"/{bucket}/.penstock/{folder}").status == 200
    Path(directory, "a").write_bytes(b"2")
    report = s3_world.push(directory)
    assert s3_world.open().commit_id == report.commit
    refs = s3_world.repository().refs
    assert (list(refs.tags()), list(refs.branches()), refs.head("main").number) == (["v1"], ["main"], 1)


# Through the proxy


@pytest.fixture
def faulty(s3_world: World, fault_proxy: FaultProxy, monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultProxy]:
    """Lead the world through the proxy."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", fault_proxy.endpoint)
    return fault_proxy


def writes(part: str) -> Callable[[str, str], bool]:
    return lambda method, path: method == "PUT" and part in path


FAULTS = {
    "slow down": Status(503),
    "reset before": Reset(),
    "lost answer": Reset(after_forward=True),
    "damaged on the way up": FlipRequestByte(5),
}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("part", ["/data/", "/nodes/", "/manifests/", "/commits/", "/heads/", "/tags/"])
def test_a_write_that_goes_wrong_once(s3_world: World, faulty: FaultProxy, part: str, fault: str) -> None:
    directory = s3_world.plant({b"file": b"content", b"large": LARGE})
    armed = faulty.fail(fault=FAULTS[fault], match=writes(part), times=1)
    report = s3_world.push(directory, tag="v1")
    assert armed.struck == 1
    assert s3_world.open("v1").commit_id == s3_world.open().commit_id == report.commit
    assert s3_world.read_back(s3_world.open(cached=False)) == {b"file": b"content", b"large": LARGE}
    assert s3_world.repository().refs.head("main").number == 0


def test_bursts_of_faults(s3_world: World, faulty: FaultProxy) -> None:
    directory = s3_world.plant(CONTENT)
    for part in ("list-type", "/data/", "/nodes/", "/manifests/", "/heads/"):
        for fault in (Status(500), Reset(), Status(503), Reset(after_forward=True)):
            faulty.fail(fault=fault, match=lambda method, path, part=part: part in path, times=1)
    report = s3_world.push(directory)
    faulty.fail(fault=Truncate(3), match=lambda method, path: method == "GET", times=3)
    assert s3_world.read_back(s3_world.open(cached=False)) == CONTENT
    assert s3_world.open().top_hash == report.top_hash


def impatient(world: World, endpoint: str) -> Any:
    remote = Remote(name="lab", url=world.bucket, endpoint_url=endpoint, deadline=3.0)
    return replace(world.settings, remotes={"lab": remote})


def push_to_lab(world: World, directory: str, settings: Any) -> Any:
    return push(directory, parse_handle("lab/things"), settings, Authorship("a", "", "push"), SILENT)


@pytest.mark.parametrize("landed", [True, False])
def test_an_answer_about_the_branch_that_never_comes(s3_world: World, faulty: FaultProxy, landed: bool) -> None:
    """Then nobody can say; but the next push can, and either state is whole."""
    directory = s3_world.plant({b"a": b"1"})
    armed = faulty.fail(fault=Reset(after_forward=landed), match=writes("/heads/"), times=10**6)
    # What a retry would ask to find out is lost as well.
    faulty.fail(fault=Reset(), match=lambda method, path: method == "GET" and "/heads/" in path, times=10**6)
    with pytest.raises(StoreUnreachableError) as caught:
        push_to_lab(s3_world, directory, impatient(s3_world, faulty.endpoint))
    assert "/heads/main/" in caught.value.what
    assert armed.struck >= 1
    faulty.heal()
    assert (s3_world.repository().refs.head("main") is not None) == landed
    again = s3_world.push(directory)
    assert (again.commit is None, again.bytes_uploaded) == (landed, 0)
    assert s3_world.read_back(s3_world.open()) == {b"a": b"1"}
    assert s3_world.repository().refs.head("main").number == 0


def test_a_lost_request_and_somebody_elses_success(
    s3_world: World, faulty: FaultProxy, gateway: Any, aws_environment: dict[str, str]
) -> None:
    """Our first attempt got lost, and another writer came before the second: a conflict, and not our success."""
    ours, theirs = s3_world.plant({b"a": b"1"}, "ours"), s3_world.plant({b"b": b"2"}, "theirs")
    direct = Remote(name="lab", url=s3_world.bucket, endpoint_url=gateway.endpoint)
    settings = replace(s3_world.machine("other"), remotes={"lab": direct})

    def race(method: str, path: str) -> bool:
        if not writes("/heads/")(method, path):
            return False
        push_to_lab(s3_world, theirs, settings)
        return True

    armed = faulty.fail(fault=Reset(), match=race, times=1)
    with pytest.raises(ConflictError, match="moved meanwhile"):
        s3_world.push(ours)
    assert armed.struck == 1
    assert s3_world.open().top_hash == s3_world.hash(theirs)
    assert s3_world.push(ours).bytes_uploaded == 0
    assert s3_world.repository().refs.head("main").number == 1


def test_two_writers_on_the_server(s3_world: World) -> None:
    from concurrent.futures import ThreadPoolExecutor

    directories = [s3_world.plant({b"a": b"%d" % number}, f"data{number}") for number in range(4)]

    def attempt(directory: str) -> Any:
        try:
            return s3_world.push(directory)
        except ConflictError as error:
            return error

    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(attempt, directories))
    won = [result for result in results if not isinstance(result, ConflictError)]
    head = s3_world.repository().refs.head("main")
    assert 1 <= len(won) == head.number + 1
    for directory in directories:
        report = s3_world.push(directory)
        assert report.bytes_uploaded == 0
        assert s3_world.open().top_hash == report.top_hash


def test_a_server_that_is_gone(s3_world: World, faulty: FaultProxy) -> None:
    directory = s3_world.plant({b"a": b"1"})
    settings = impatient(s3_world, faulty.endpoint)
    push_to_lab(s3_world, directory, settings)
    faulty.down()
    before = time.monotonic()
    for attempt in (lambda: push_to_lab(s3_world, directory, settings), lambda: open_snapshot("lab/things", settings)):
        with pytest.raises(StoreUnreachableError) as caught:
            attempt()
        assert faulty.endpoint in f"{caught.value}"
    assert time.monotonic() - before < 20
    faulty.up()
    assert push_to_lab(s3_world, directory, settings).commit is None


def test_a_server_that_goes_away_halfway(s3_world: World, faulty: FaultProxy) -> None:
    """One of many puts hangs, another fails: the push ends with the failure, not with the last timeout."""
    directory = s3_world.plant({b"%d" % number: bytes([number]) * (5 << 20) for number in range(6)})
    faulty.fail(fault=Stall(60.0), match=writes("/data/"), times=2)
    faulty.fail(fault=Status(403, body=b""), match=writes("/data/"), times=10**6)
    before = time.monotonic()
    with pytest.raises(Exception, match="cannot write"):
        s3_world.push(directory)
    assert time.monotonic() - before < 30
    faulty.heal()
    assert s3_world.push(directory).commit is not None


@pytest.mark.parametrize("part", ["/data/", "/nodes/", "/manifests/", "/heads/"])
def test_a_byte_that_flips_on_the_way_down(s3_world: World, faulty: FaultProxy, part: str) -> None:
    content = {b"file": LARGE}
    s3_world.push(s3_world.plant(content))
    # In the records: inside a hash. In the one node frame and in the file: anywhere.
    faulty.fail(fault=FlipByte(40), match=lambda method, path: method == "GET" and part in path, times=1)
    snapshot = s3_world.open(cached=False)
    assert s3_world.read_back(snapshot) == content
    faulty.fail(fault=FlipByte(40), match=lambda method, path: method == "GET" and part in path, times=10)
    with pytest.raises(IntegrityError) as caught:
        s3_world.read_back(s3_world.open(cached=False))
    assert part in f"{caught.value}"
    assert s3_world.bucket in f"{caught.value}"


def test_a_read_of_many_requests_survives_resets(s3_world: World, faulty: FaultProxy) -> None:
    s3_world.push(s3_world.plant({b"file": LARGE}))
    snapshot: Snapshot = s3_world.open()
    entry = snapshot.find("file")
    for fault in (Reset(after_forward=True), Status(500), Truncate(1000), FlipByte(9)):
        faulty.fail(fault=fault, match=lambda method, path: "/data/" in path, times=1)
    assert b"".join(snapshot.read(entry)) == LARGE
