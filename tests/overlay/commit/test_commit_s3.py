"""Commits on the real S3 server, each of their requests going wrong: they land once or not at all, and can go on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from servers.faultproxy import FaultProxy
from servers.faults import Reset, Stall, Status
from views.bucket import LocalBucket, push, write_tree
from views.edited import Edited, Tree, version_tree
from views.memory import Made

from penstock.errors import StoreUnreachableError
from penstock.manifest.entry import BLOCK_SIZE
from penstock.overlay.tables.intent import read_intent
from penstock.repo.bucket.leases import leases
from penstock.repo.read.snapshot import open_snapshot
from penstock.repo.settings.remote import Remote

pytestmark = pytest.mark.s3

PARTS = ["/leases/", "/data/", "/nodes/", "/manifests/", "/commits/", "/heads/"]
Lab = Callable[[float], Edited]


@pytest.fixture
def lab(
    tmp_path: Path, bucket: str, aws_environment: dict[str, str], fault_proxy: FaultProxy
) -> Iterator[Callable[[float], Edited]]:
    """Return what makes an overlay of a version on S3, reached through the proxy with a deadline in seconds."""
    del aws_environment  # set is enough
    made: list[Edited] = []
    demo = LocalBucket(tmp_path)
    write_tree(tmp_path / "source", {b"a": Made(b"first"), b"big": Made(bytes(2 * BLOCK_SIZE)), b"gone": Made(b"x")})

    def make(deadline: float) -> Edited:
        remote = Remote(
            name="demo",
            url=f"s3://{bucket}",
            endpoint_url=fault_proxy.endpoint,
            addressing_style="path",
            deadline=deadline,
        )
        demo.settings = replace(demo.settings, remotes={"demo": remote})
        push(tmp_path / "source", f"s3://{bucket}/things", replace(demo.settings, remotes={}))
        made.append(Edited(demo, tmp_path / "overlay", "demo/things"))
        return made[-1]

    yield make
    for edited in made:
        edited.close()


def newest(edited: Edited) -> Tree:
    return version_tree(open_snapshot("demo/things", edited.bucket.settings, cached=False))


def history(edited: Edited) -> list[str]:
    """Return the messages of the branch's commits, newest first."""
    repository = edited.version.repository
    head = repository.refs.head("main")
    assert head is not None
    at, found = head.record.commit, []
    while at is not None:
        commit = repository.commit(at)
        found.append(commit.message)
        at = commit.parents[0] if commit.parents else None
    return found


def writes(part: str) -> Callable[[str, str], bool]:
    return lambda method, path: method == "PUT" and part in path


def change(edited: Edited, text: bytes) -> None:
    edited.write("a", 0, text)
    edited.write("big", BLOCK_SIZE, text)
    edited.create(text.decode(), text * 100)


@pytest.mark.parametrize("part", PARTS)
def test_a_request_that_goes_wrong_once(lab: Lab, fault_proxy: FaultProxy, part: str) -> None:
    edited = lab(30.0)
    faults = {"slow down": Status(503), "reset before": Reset(), "lost answer": Reset(after_forward=True)}
    for name, fault in faults.items():
        change(edited, name.replace(" ", "-").encode())
        seen = edited.tree()
        armed = fault_proxy.fail(fault=fault, match=writes(part))
        assert edited.commit(name).commit is not None
        assert armed.struck == 1
        assert edited.tree() == seen == newest(edited)
        assert not edited.overlay.is_dirty()
    assert history(edited) == [*reversed(faults), ""]
    assert leases(edited.version.repository.store) == []


@pytest.mark.parametrize("part", PARTS)
def test_answers_that_never_come(lab: Lab, fault_proxy: FaultProxy, part: str) -> None:
    """The server has done what it was asked for, or not: nobody hears. The next commit finds out which."""
    edited = lab(3.0)
    change(edited, b"one")
    edited.unlink("gone")
    seen, before = edited.tree(), newest(edited)
    armed = fault_proxy.fail(fault=Stall(600.0), match=writes(part), times=10**6)
    # What a retry would ask to find out stalls as well.
    fault_proxy.fail(fault=Stall(600.0), match=lambda _, path: part in path and armed.struck > 0, times=10**6)
    with pytest.raises(StoreUnreachableError):
        edited.commit("first")
    assert armed.struck >= 1
    fault_proxy.heal()
    assert edited.tree() == seen
    assert edited.overlay.is_dirty()
    landed = part == "/heads/"
    assert newest(edited) == (seen if landed else before)
    change(edited, b"two")
    seen = edited.tree()
    assert edited.commit("second").commit is not None
    assert edited.tree() == seen == newest(edited) == edited.committed_tree()
    assert history(edited) == ["second", *(["first"] if landed else []), ""]
    assert read_intent(edited.overlay.records) is None
    assert not edited.overlay.is_dirty()


def test_a_small_commit_takes_six_requests_that_write(lab: Lab, fault_proxy: FaultProxy) -> None:
    edited = lab(30.0)
    edited.write("a", 0, b"F")
    before = fault_proxy.count("PUT")
    edited.commit()
    assert fault_proxy.count("PUT") - before == 6 + 2  # the first one of a day tries what the bucket holds to
    edited.write("a", 0, b"G")
    before = fault_proxy.count("PUT")
    edited.commit()
    assert fault_proxy.count("PUT") - before == 6
