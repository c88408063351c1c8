"""Metadata of more than 64 KiB, from an overlay through a commit: kept, read back, merged, verified, collected."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from views.bucket import LocalBucket, write_tree
from views.edited import Edited
from views.memory import Made

from penstock.manifest.entry import DocumentRef, Metadata
from penstock.manifest.frame import FRAME_DOCUMENT, decode_frame, frames_around
from penstock.progress import SILENT
from penstock.repo.fetch.request_counts import RequestCounts
from penstock.repo.gc.collect import collect
from penstock.repo.read.snapshot import Snapshot, open_snapshot
from penstock.repo.session.nodes import Nodes
from penstock.repo.settings.handle import parse_handle
from penstock.repo.verify.damage import DamageKind
from penstock.repo.verify.verification import VersionReport, verify

PATHS = ("x", "dir", "")


def large(number: int) -> dict[str, object]:
    return {"number": number, "text": "".join(map(str, range(number, number + 20_000)))}


@pytest.fixture
def bucket(tmp_path: Path) -> LocalBucket:
    made = LocalBucket(tmp_path)
    write_tree(tmp_path / "source", {b"dir": {b"y": Made(b"y")}, b"x": Made(b"x"), b"z": Made(b"z")})
    made.push(tmp_path / "source")
    return made


@pytest.fixture
def edited(bucket: LocalBucket, tmp_path: Path) -> Iterator[Edited]:
    made = Edited(bucket, tmp_path / "first")
    for number, path in enumerate(PATHS):
        made.describe(path, large(number))
    assert made.commit().commit is not None
    yield made
    made.close()


def described(version: Snapshot, path: str) -> Metadata:
    return version.find(path).metadata if path else version.root_metadata


def kept(bucket: LocalBucket) -> dict[str, Any]:
    version = open_snapshot("demo/data", bucket.settings, cached=False)
    try:
        return {path: json.loads(version.read_metadata(described(version, path)) or b"{}") for path in PATHS}
    finally:
        version.close()


def packs(bucket: LocalBucket) -> dict[str, list[int]]:
    """Return the types of the frames in each node pack."""
    store = bucket.settings.open_bucket("demo")
    found = {}
    for info in store.list(".penstock/nodes/"):
        body = bytes(store.get(info.key))
        found[info.key] = [decode_frame(body[at : at + size])[0] for at, size in frames_around(body, 0)]
    store.close()
    return found


def check(bucket: LocalBucket) -> VersionReport:
    return verify(parse_handle("demo/data"), bucket.settings, SILENT, deep=True)


def test_it_is_kept_apart_from_nodes(bucket: LocalBucket, edited: Edited) -> None:
    assert kept(bucket) == {path: large(number) for number, path in enumerate(PATHS)}
    assert all(types.count(FRAME_DOCUMENT) in (0, len(types)) for types in packs(bucket).values())
    assert sum(types.count(FRAME_DOCUMENT) for types in packs(bucket).values()) == len(PATHS)
    assert not edited.overlay.is_dirty()


def test_a_listing_fetches_none_of_it(bucket: LocalBucket, edited: Edited) -> None:
    version = open_snapshot("demo/data", bucket.settings, cached=False)
    names = [path for path, _ in version.tree.walk()]
    assert names == [(b"dir",), (b"dir", b"y"), (b"x",), (b"z",)]
    assert isinstance(version.find("x").metadata, DocumentRef)
    fetched = version.session.counts.snapshot()["bytes_fetched"]
    assert fetched < 3000, fetched
    version.read_metadata(version.find("x").metadata)
    assert version.session.counts.snapshot()["bytes_fetched"] > 20_000
    version.close()


def test_what_is_not_touched_is_not_written_again(bucket: LocalBucket, edited: Edited) -> None:
    before = packs(bucket)
    edited.write("x", 0, b"X")
    edited.write("dir/y", 0, b"Y")
    assert edited.commit().commit is not None
    new = [types for key, types in packs(bucket).items() if key not in before]
    assert FRAME_DOCUMENT not in {kind for types in new for kind in types}
    assert kept(bucket) == {path: large(number) for number, path in enumerate(PATHS)}


def test_a_member_more_makes_a_document_of_it_and_one_less_ends_that(bucket: LocalBucket, edited: Edited) -> None:
    for size in (65_000, 66_000, 65_000):
        edited.describe("z", {"text": "m" * size})
        edited.commit()
        version = open_snapshot("demo/data", bucket.settings, cached=False)
        assert isinstance(version.find("z").metadata, DocumentRef) == (size > 65_536)
        version.close()


def test_what_others_add_to_a_document_comes_with_a_commit(bucket: LocalBucket, edited: Edited, tmp_path: Path) -> None:
    """Where one side changed it; where both did, in `tests/manifest/test_documents`."""
    other = Edited(bucket, tmp_path / "other")
    other.describe("", large(7))
    assert other.commit().commit is not None
    other.close()
    edited.describe("x", large(8))
    assert edited.commit().commit is not None
    assert kept(bucket) == {"": large(7), "dir": large(1), "x": large(8)}


@pytest.mark.parametrize("path", PATHS)
def test_verify_finds_a_document_that_is_damaged(bucket: LocalBucket, edited: Edited, path: str) -> None:
    assert check(bucket).is_sound
    version = open_snapshot("demo/data", bucket.settings, cached=False)
    found = described(version, path)
    version.close()
    assert isinstance(found, DocumentRef)
    store = bucket.settings.open_bucket("demo")
    key = next(info.key for info in store.list(".penstock/nodes/") if info.key.endswith(found.location.pack.hex()))
    body = bytearray(store.get(key))
    body[found.location.offset + found.location.length // 2] ^= 1
    store.put(key, bytes(body))
    (damage,) = check(bucket).damages
    assert (damage.kind, damage.paths) == (DamageKind.UNREADABLE, [path] if path else [])
    store.delete([key])
    assert {damage.kind for damage in check(bucket).damages} == {DamageKind.MISSING}
    store.close()


def test_gc_keeps_documents(bucket: LocalBucket, edited: Edited) -> None:
    before = packs(bucket)
    store = bucket.settings.open_bucket("demo")
    report = collect(store, Nodes(store, None, RequestCounts()).load, SILENT, grace=0.0, delete=True)
    store.close()
    assert report.garbage.objects == 0
    assert packs(bucket) == before
    assert check(bucket).is_sound
