"""Records around a tree: what is written is read, what is not right is refused, what is later is named as later."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from trees.strategies import json_objects, quick

from penstock.errors import FormatTooNewError, IntegrityError
from penstock.manifest.entry import BLOCK_SIZE, MAX_SIZE, Location, NodeRef
from penstock.manifest.frame import MAX_FRAME
from penstock.manifest.hashing import commit_id, content_hash
from penstock.manifest.metadata import canonical_json
from penstock.manifest.records import MAX_RECORD, Commit, DatasetInfo, Manifest, RefRecord, format_time, parse_time

_hashes = st.integers(0, 255).map(lambda number: content_hash(bytes([number])))
_texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
_times = st.datetimes(timezones=st.just(dt.UTC)).map(format_time)
_counts = st.integers(0, (1 << 48) - 1)

_manifests = st.builds(
    Manifest,
    st.builds(
        NodeRef,
        _hashes,
        _counts,
        st.integers(0, MAX_SIZE),
        st.builds(Location, _hashes, st.integers(0, MAX_SIZE - MAX_FRAME), st.integers(1, MAX_FRAME), _hashes),
    ),
    json_objects.map(canonical_json),
)
_commits = st.builds(
    Commit,
    _hashes,
    _counts,
    st.integers(0, MAX_SIZE),
    st.lists(_hashes, max_size=3).map(tuple),
    _texts,
    _times,
    _texts,
    st.dictionaries(_texts, _texts, max_size=3),
)
_refs = st.one_of(
    st.builds(RefRecord, *[_hashes] * 2, _texts, _times, _texts, _texts),
    st.builds(RefRecord, st.none(), st.none(), _texts, _times, _texts, _texts),
)
_infos = st.builds(DatasetInfo, _texts, _texts, _texts, _times, _texts)

TIME = "2026-11-21T08:40:00.000000Z"
DIGEST = content_hash(b"x")
HASH = DIGEST.hex()
MANIFEST = Manifest(
    NodeRef(content_hash(b"r"), 3, 40, Location(content_hash(b"p"), 5, 60, content_hash(b"f"))), b'{"a":1.0}'
)
COMMIT = Commit(DIGEST, 3, 40, (DIGEST,), "me", TIME, "why", {"python": "3.11"})
REF = RefRecord(DIGEST, DIGEST, "me", TIME, "push", "0" * 32)
INFO = DatasetInfo("title", "text", "me", TIME, "0" * 32)


def _read(body: bytes, original: object) -> object:
    if isinstance(original, Manifest):
        return Manifest.decode(body, original.top_hash)
    if isinstance(original, Commit):
        return Commit.decode(body, commit_id(body))
    return RefRecord.decode(body) if isinstance(original, RefRecord) else DatasetInfo.decode(body)


@quick
@given(st.one_of(_manifests, _commits, _refs, _infos))
def test_records_come_back(record: Manifest | Commit | RefRecord | DatasetInfo) -> None:
    body = record.encode()
    assert _read(body, record) == record
    assert json.loads(body)["penstock"] == 1
    assert body.startswith(b'{\n "penstock": 1,')


@quick
@given(_manifests, _manifests)
def test_the_top_hash_is_of_what_is_contained_alone(one: Manifest, other: Manifest) -> None:
    root = one.root
    elsewhere = Manifest(NodeRef(root.hash, root.entries, root.size, other.root.location), one.metadata)
    assert elsewhere.top_hash == one.top_hash

    def content(manifest: Manifest) -> tuple[object, ...]:
        return (manifest.root.hash, manifest.root.entries, manifest.root.size, manifest.metadata)

    assert (one.top_hash == other.top_hash) == (content(one) == content(other))


@pytest.mark.parametrize("record", [MANIFEST, COMMIT, REF, INFO], ids=["manifest", "commit", "ref", "info"])
def test_damage_of_any_kind(record: Manifest | Commit | RefRecord | DatasetInfo) -> None:
    body = record.encode()
    for length in range(len(body)):
        with pytest.raises(IntegrityError):
            _read(body[:length], record)
    expected = commit_id(body)
    for bit in range(len(body) * 8):
        bad = bytearray(body)
        bad[bit // 8] ^= 1 << bit % 8
        try:
            found = Commit.decode(bytes(bad), expected) if isinstance(record, Commit) else _read(bytes(bad), record)
        except IntegrityError:
            continue
        assert not isinstance(record, Commit)
        if isinstance(record, Manifest):
            assert isinstance(found, Manifest)
            assert found.top_hash == record.top_hash


@pytest.mark.parametrize("record", [MANIFEST, COMMIT, REF, INFO], ids=["manifest", "commit", "ref", "info"])
def test_versions_of_the_format(record: Manifest | Commit | RefRecord | DatasetInfo) -> None:
    parts = json.loads(record.encode())
    with pytest.raises(FormatTooNewError, match="Upgrade"):
        _read(json.dumps({"penstock": 3, "all": "different"}).encode(), record)
    for version in (0, -1, 1.0, "1", None, True):
        with pytest.raises(IntegrityError) as caught:
            _read(json.dumps({**parts, "penstock": version}).encode(), record)
        assert not isinstance(caught.value, FormatTooNewError)
    with pytest.raises(IntegrityError, match="the most is"):
        _read(record.encode() + b" " * MAX_RECORD, record)
    later = json.dumps({**parts, "something": ["else"]}).encode()
    assert _read(later, record) == record  # what is not known is passed over


def _manifest_with(**fields: Any) -> bytes:
    parts = json.loads(MANIFEST.encode())
    root = {key[5:]: fields.pop(key) for key in list(fields) if key.startswith("root_")}
    return json.dumps({**parts, **fields, "root": {**parts["root"], **root}}).encode()


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"block_size": BLOCK_SIZE // 2}, "block size"),
        ({"root_offset": -1}, "cannot be where it says"),
        ({"root_offset": MAX_SIZE}, "cannot be where it says"),
        ({"root_length": 0}, "cannot be where it says"),
        ({"root_length": MAX_FRAME + 1}, "cannot be where it says"),
        ({"root_entries": -1}, "counts are out of bounds"),
        ({"root_entries": 1 << 48}, "counts are out of bounds"),
        ({"root_size": -1}, "counts are out of bounds"),
        ({"root_size": 1 << 63}, "counts are out of bounds"),
        ({"root_size": 1 << 80}, "malformed"),
        ({"root_pack": HASH.upper()}, "64 lower-case hex digits"),
        ({"root_pack": HASH + "00"}, "64 lower-case hex digits"),
        ({"root_digest": HASH[:-1] + " "}, "64 lower-case hex digits"),
        ({"root_hash": "é" * 32}, "64 lower-case hex digits"),
        ({"root_hash": HASH}, "not the one that was asked for"),
        ({"root_entries": 4}, "not the one that was asked for"),
        ({"metadata": {"a": 1}}, "not the one that was asked for"),
        ({"metadata": {}}, "not the one that was asked for"),
        ({"top_hash": HASH}, "not the one that was asked for"),
        ({"metadata": {"a": "x" * (1 << 17)}}, "manifest is malformed"),
        ({"metadata": {"a": 1 << 64}}, "manifest is malformed"),
        ({"metadata": []}, "manifest is malformed"),
        ({"metadata": json.loads("[" * 400 + "]" * 400)}, "manifest is malformed"),
    ],
)
def test_a_manifest_that_is_not_right(fields: dict[str, Any], words: str) -> None:
    with pytest.raises(IntegrityError, match=words):
        Manifest.decode(_manifest_with(**fields), MANIFEST.top_hash)


def test_a_manifest_of_another_version_is_refused() -> None:
    with pytest.raises(IntegrityError, match="not the one"):
        Manifest.decode(MANIFEST.encode(), content_hash(b"other"))


def _without(record: Commit | RefRecord | DatasetInfo) -> Callable[..., bytes]:
    parts = json.loads(record.encode())
    return lambda **fields: json.dumps({**parts, **fields}).encode()


@pytest.mark.parametrize(
    "fields",
    [
        {"top_hash": "x"},
        {"parents": [HASH, "0"]},
        {"parents": HASH},
        {"time": "2026-11-21"},
        {"time": "2026-11-21T08:40:00.0Z"},
        {"time": "2026-11-21T08:40:00.000000+00:00"},
        {"time": "0000-11-21T08:40:00.000000Z"},
        {"time": " 2026-11-21T08:40:00.000000Z"},
        {"entries": -1},
        {"entries": 1 << 48},
        {"size": 1 << 63},
        {"environment": {"a": 1}},
        {"message": None},
    ],
)
def test_a_commit_that_is_not_right(fields: dict[str, Any]) -> None:
    body = _without(COMMIT)(**fields)
    with pytest.raises(IntegrityError, match="commit is malformed"):
        Commit.decode(body, commit_id(body))
    with pytest.raises(IntegrityError):
        Commit.decode(body, commit_id(COMMIT.encode()))


def test_another_commit_is_refused() -> None:
    body = _without(COMMIT)(message="other")
    with pytest.raises(IntegrityError, match="not the one that was asked for"):
        Commit.decode(body, commit_id(COMMIT.encode()))


@pytest.mark.parametrize(
    "fields",
    [{"commit": None}, {"top_hash": None}, {"commit": "main"}, {"top_hash": HASH[2:]}, {"time": ""}, {"author": 1}],
)
def test_a_ref_that_is_not_right(fields: dict[str, Any]) -> None:
    with pytest.raises(IntegrityError, match="ref is malformed"):
        RefRecord.decode(_without(REF)(**fields))


@pytest.mark.parametrize("body", [b"", b"null", b"[]", b"{}", b"\xff", b'{"penstock":1,"a":"\xff"}', b"[" * 100_000])
def test_what_is_no_record_at_all(body: bytes) -> None:
    for decode in (RefRecord.decode, DatasetInfo.decode):
        with pytest.raises(IntegrityError, match="is malformed"):
            decode(body)
    with pytest.raises(IntegrityError, match="is malformed"):
        Manifest.decode(body, bytes(32))
    with pytest.raises(IntegrityError, match="is malformed"):
        Commit.decode(body, bytes(32))
    with pytest.raises(IntegrityError):
        DatasetInfo.decode(_without(INFO)(created="today"))


@quick
@given(st.datetimes(timezones=st.timezones() | st.just(dt.UTC)))
def test_times_come_back(when: dt.datetime) -> None:
    try:
        text = format_time(when)
    except OverflowError:  # the first or last day there is, seen from UTC
        return
    # Not `when` itself: Python calls a moment in a gap or fold of its own zone unequal to the same one in any other.
    assert parse_time(text) == when.astimezone(dt.UTC)
    assert len(text) == len(TIME)
