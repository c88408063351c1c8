"""Registries that quilt3 8.0.0 wrote are read, hash by hash; what is torn, forged or hostile is refused by line.

`registry.json` holds what quilt3 itself wrote, object by object: four packages in seven revisions.
"""

from __future__ import annotations

import base64
import hashlib
import json
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.errors import IntegrityError, NotFoundError
from penstock.repo.quilt.content_hash import ContentCheck, HashKind, QuiltHash, parse_hash
from penstock.repo.quilt.manifest import MAX_LINE, QuiltDirectory, QuiltEntry, QuiltManifest
from penstock.repo.quilt.physical_key import QuiltKey, parse_physical_key
from penstock.repo.quilt.quilt_registry import QuiltRegistry
from penstock.store.base import Store
from penstock.store.opening import open_store

WRITTEN: dict[str, str] = json.loads((Path(__file__).parent / "registry.json").read_text())["objects"]
HASH = {"type": "SHA256", "value": hashlib.sha256(b"x").hexdigest()}


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = open_store(tmp_path.as_uri())
    for key, body in WRITTEN.items():
        store.put(key, body.encode())
    yield store
    store.close()


@pytest.fixture
def registry(store: Store) -> QuiltRegistry:
    return QuiltRegistry(store)


def entries(manifest: QuiltManifest) -> dict[str, QuiltEntry]:
    return {row.key: row for row in manifest.rows() if isinstance(row, QuiltEntry)}


def test_every_revision_that_quilt_wrote_has_the_top_hash_that_quilt_gave_it(registry: QuiltRegistry) -> None:
    assert registry.names() == ["team/empty", "team/full", "team/keys", "team/s3"]
    read = 0
    for name in registry.names():
        revisions = registry.revisions(name)
        assert registry.tags(name) == {"latest": revisions[-1].top_hash}
        for revision in revisions:
            read += len(entries(registry.open(revision.top_hash)))
    assert read == 4 * 8 + 17 + 4


def test_history_comes_in_order_with_messages_and_metadata(registry: QuiltRegistry) -> None:
    manifests = [registry.open(each.top_hash) for each in registry.revisions("team/full")]
    assert [each.message for each in manifests] == ["first batch", "fix a label", "third: ü", "third again"]
    assert manifests[0].metadata["count"] == 9007199254740993
    first, second = map(entries, manifests[:2])
    assert first["train/img0.png"].metadata["label"] == "cat"
    assert second["train/img0.png"].metadata == {"label": "ferret"}
    assert first["train/img1.png"].metadata == {"label": "dog", "box": [1, 2.5, -0.0, 1e22], "ok": False, "none": None}
    assert {row.key: row.metadata for row in manifests[2].rows() if isinstance(row, QuiltDirectory)} == {
        "train/": {"split": "train"}
    }


def test_entries_say_where_they_lie_and_what_they_hash_to(registry: QuiltRegistry) -> None:
    found = entries(registry.open(registry.revisions("team/s3")[0].top_hash))
    assert [entry.hash.kind for entry in found.values()] == [*HashKind, HashKind.SHA256]
    assert [entry.hash.kind.proves for entry in found.values()] == [True, True, False, True]
    assert found["objects/1 é.bin"].physical_keys == (
        QuiltKey("s3://some-bucket/pre%20fix/1%2B%C3%A9%3Fx.bin", "some-bucket", "pre fix/1+é?x.bin", "v1.AbC_-"),
    )
    assert found["objects/unversioned.bin"].physical_keys[0].version_id is None


def test_the_hash_of_a_large_content_is_that_of_its_chunks(registry: QuiltRegistry) -> None:
    found = entries(registry.open(registry.revisions("team/full")[0].top_hash))
    large = bytes(range(256)) * (9 * 4096)
    for name, content in (("large.bin", large), ("empty.bin", b""), ("train/img4.png", b"\4" * 104)):
        for data, wanted in ((content, True), (content + b"x", False)):
            check = ContentCheck(found[name].hash, found[name].size)
            for start in range(0, len(data), 3_000_000):
                check.update(data[start : start + 3_000_000])
            assert check.matches() is wanted, name


def test_a_flipped_bit_anywhere_but_in_a_place_is_noticed(registry: QuiltRegistry) -> None:
    top = registry.revisions("team/full")[0].top_hash
    body = WRITTEN[f".quilt/packages/{top}"]
    for old, new in (('"size": 100', '"size": 101'), ("dog", "cow"), ("img2", "img5"), ("first batch", "first")):
        assert old in body
        manifest = QuiltManifest(body.replace(old, new, 1).encode().splitlines(), top)
        with pytest.raises(IntegrityError, match=r"hashes to|in the order"):
            list(manifest.rows())
    moved = QuiltManifest(body.replace("file:///srv", "file:///mnt").encode().splitlines(), top)
    assert len(list(moved.rows())) == 9


def test_a_torn_manifest_is_noticed(registry: QuiltRegistry, store: Store) -> None:
    top = registry.revisions("team/keys")[0].top_hash
    body = WRITTEN[f".quilt/packages/{top}"].encode()
    for size in range(0, len(body) - 1, 97):
        with pytest.raises(IntegrityError):
            list(QuiltManifest(body[:size].splitlines(), top).rows())
    store.delete([f".quilt/packages/{top}"])
    with pytest.raises(NotFoundError, match="restore it"):
        list(registry.open(top).rows())


def test_pointers_are_not_believed(registry: QuiltRegistry, store: Store) -> None:
    store.put(".quilt/named_packages/team/full/99", b"../../etc/passwd")
    with pytest.raises(IntegrityError, match="no top hash"):
        registry.revisions("team/full")
    for name in ("team", "team/full/1", "../x", "team/none", "a/b\n"):
        with pytest.raises(NotFoundError):
            registry.revisions(name)
    with pytest.raises(IntegrityError):
        registry.open("../" * 22)


def row(**changes: Any) -> dict[str, Any]:
    made = {"logical_key": "a", "physical_keys": ["s3://b/k"], "size": 1, "hash": HASH, "meta": {}}
    return {name: value for name, value in (made | changes).items() if value is not ...}


@pytest.mark.parametrize(
    "rows",
    [
        [row(logical_key=key)] if isinstance(key, str) else key
        for key in ("", "..", "a/../b", "/a", "a//b", "a/", "a\0", "\ud800", "x" * 256, "a/" * 3000 + "a")
    ]
    + [
        [row(), row()], [row(logical_key="b"), row()], [row(), row(logical_key="a/b")], [row(logical_key=...)],
        [row(size=-1)], [row(size=True)], [row(size="1")], [row(size=1 << 64)], [row(size=...)],
        [row(hash=None)], [row(hash={"type": "MD5", "value": "0" * 32})], [row(hash={"type": "SHA256", "value": "zz"})],
        [row(hash={"type": "CRC64NVME", "value": "AAAA"})], [row(hash={**HASH, "more": 1})],
        [row(meta=[])], [row(meta={"user_meta": 1})], [row(physical_keys="s3://b/k")], [row(physical_keys=[1])],
        [row(physical_keys=["http://b/k"])], [row(physical_keys=["s3://b"])], [row(physical_keys=["file://host/x"])],
        [row(physical_keys=["file:///a/../../etc"])], [row(physical_keys=["s3://b/k?x=1"])], [5], ["x"],
        [row(physical_keys=["s3://b/%ff"])], [row(physical_keys=["s3://b/a%00b"])],
    ],
)  # fmt: skip
def test_what_no_dataset_can_hold_is_refused_by_its_line(rows: list[Any]) -> None:
    lines = [b'{"version":"v0"}', *(json.dumps(each).encode() for each in rows)]
    with pytest.raises(IntegrityError, match=f"line {len(lines)} "):
        list(QuiltManifest(lines, "0" * 64).rows())


def test_headers_and_lines_are_bounded() -> None:
    for header in (b"", b"[]", b"{", b'{"message":1}', b'{"user_meta":[]}', b"[" * 100_000, b" " * (MAX_LINE + 1)):
        with pytest.raises(IntegrityError, match="line 1 "):
            QuiltManifest([header], "0" * 64)


@given(st.lists(st.binary(max_size=40), max_size=4), st.text(max_size=30))
def test_junk_is_an_error_of_ours(lines: list[bytes], key: str) -> None:
    try:
        list(QuiltManifest([b"{}", *lines], "0" * 64).rows())
    except IntegrityError as error:
        assert error.why
    with pytest.raises(IntegrityError):
        parse_physical_key(f"http://{key}")


def test_memory_does_not_grow_with_the_manifest() -> None:
    def lines(count: int) -> Iterator[bytes]:
        yield b"{}"
        for number in range(count):
            yield json.dumps(row(logical_key=f"{number:07}", meta={"user_meta": {"n": number}})).encode()

    peaks = []
    for count in (200, 4000):
        manifest = QuiltManifest(lines(count), "0" * 64)
        tracemalloc.start()
        with pytest.raises(IntegrityError, match="hashes to"):
            for _ in manifest.rows():
                pass
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < peaks[0] + 500_000, peaks  # a list of them would take ten times that


def test_hashes_of_all_kinds() -> None:
    digest = hashlib.sha256(b"x").digest()
    assert parse_hash(HASH) == QuiltHash(HashKind.SHA256, digest)
    chunked = {"type": "sha2-256-chunked", "value": base64.b64encode(digest).decode()}
    assert parse_hash(chunked) == QuiltHash(HashKind.CHUNKED, digest)
    check = ContentCheck(parse_hash({"type": "CRC64NVME", "value": "AAAAAAAAAAA="}), 1)
    check.update(b"anything")
    assert check.matches()
