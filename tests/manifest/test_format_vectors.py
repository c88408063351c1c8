"""The vectors of docs/FORMAT.md, both ways: what they hold decodes, and what they describe gives what they hold.

zstandard may compress otherwise in a later version, so compressed bytes and all that depends on them (where frames
lie, their digests) are held against what they decode to.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from blake3 import blake3
from msgspec import structs
from trees.forge import parts_of
from trees.model import File, Folder, bare, find, flatten
from trees.reference import Split, node_hash
from trees.vectors import filled, plain, records, tree_of, trees, vector

from penstock.manifest.codec import decode_document, decode_node, decode_page
from penstock.manifest.entry import DocumentRef, Location, Metadata, NodeRef
from penstock.manifest.frame import (
    FRAME_DOCUMENT,
    FRAME_DOCUMENTED,
    FRAME_IDENTIFIED,
    FRAME_INDEX,
    FRAME_LEAF,
    FRAME_PAGE,
    decode_frame,
)
from penstock.manifest.hashing import content_hash, documented_top_hash, page_hash, top_hash
from penstock.manifest.metadata import canonical_json
from penstock.manifest.node import Node
from penstock.manifest.records import Commit, DatasetInfo, Manifest, RefRecord
from penstock.manifest.split import cut_level
from penstock.manifest.tree import Tree

VECTORS = Path(__file__).parents[2] / "docs" / "vectors"
FORMAT = VECTORS.parent / "FORMAT.md"
NAMES = sorted(path.stem for path in VECTORS.glob("*.json") if path.stem != "records")


def _read(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((VECTORS / f"{name}.json").read_text())
    return found


def test_no_vector_is_missing() -> None:
    assert sorted(trees()) == NAMES
    assert all(name in FORMAT.read_text() for name in NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_a_vector_decodes_to_the_tree_it_describes(name: str) -> None:
    stored = _read(name)
    folder = tree_of(stored["tree"])
    listed = [*stored["frames"], *stored.get("documents", [])]
    frames = {frame["digest"]: bytes.fromhex(frame["bytes"]) for frame in listed if "bytes" in frame}
    assert all(content_hash(frame).hex() == digest for digest, frame in frames.items())
    manifest = Manifest.decode(stored["manifest"].encode(), bytes.fromhex(stored["top_hash"]))
    assert manifest.logical.hex() == stored["top_hash_of"]
    hashed = documented_top_hash if isinstance(manifest.metadata, DocumentRef) else top_hash
    assert hashed(manifest.logical).hex() == stored["top_hash"]

    def read(metadata: Metadata) -> bytes:
        if isinstance(metadata, bytes):
            return metadata
        return decode_document(frames[metadata.location.digest.hex()], metadata)

    assert read(manifest.metadata) == canonical_json(filled(stored["metadata"]))

    def load(ref: NodeRef) -> Node:
        return decode_node(frames[ref.location.digest.hex()], ref)

    found = list(Tree(manifest.root, load).walk())
    assert [path for path, _ in found] == [path for path, _ in flatten(folder)]
    for (_, entry), (_, wanted) in zip(found, flatten(folder), strict=True):
        assert [page.hash for page in entry.pages] == [page.hash for page in wanted[8]]  # type: ignore[attr-defined]
        entry = structs.replace(entry, metadata=read(entry.metadata))
        assert bare(entry)[:8] == wanted[:8]
        assert bare(entry)[9:] == wanted[9:]
    _check_pages(folder, found, frames)


def _check_pages(folder: Folder, found: list[Any], frames: dict[str, bytes]) -> None:
    for path, entry in found:
        item = find(folder, path)
        if not isinstance(item, File):
            continue
        for number, page in enumerate(entry.pages):
            blocks = item.blocks[number * 32768 : (number + 1) * 32768]
            assert page.hash == page_hash(blocks)
            if page.location.digest.hex() in frames:
                frame = frames[page.location.digest.hex()]
                assert decode_page(frame, page.hash, len(blocks) // 32) == blocks


@pytest.mark.parametrize("name", NAMES)
def test_the_tree_of_a_vector_gives_the_vector(name: str) -> None:
    stored = _read(name)
    made = json.loads(json.dumps(vector(tree_of(stored["tree"]), filled(stored["metadata"]))))
    for key in ("metadata", "top_hash", "top_hash_of", "root", "nodes"):
        assert made[key] == stored[key]
    assert [_without_places(frame) for frame in made["frames"]] == [_without_places(f) for f in stored["frames"]]
    assert [frame["type"] for frame in made.get("documents", [])] == [3 for _ in stored.get("documents", [])]
    for frame in stored["frames"]:  # what is beside the bytes is what is in them
        if "logical" in frame:
            kind, logical, physical = parts_of(bytes.fromhex(frame["bytes"]))
            assert (kind, plain(logical), plain(physical)) == (frame["type"], frame["logical"], frame["physical"])
    root = stored["root"]
    assert node_hash(tree_of(stored["tree"]), Split()) == (bytes.fromhex(root["hash"]), root["entries"], root["size"])


def _without_places(frame: dict[str, Any]) -> dict[str, Any]:
    if frame["type"] == FRAME_PAGE:
        return frame
    kept = {key: value for key, value in frame.items() if key not in ("length", "digest", "bytes")}
    if "physical" not in frame:
        return kept
    physical = json.loads(json.dumps(frame["physical"]))
    if frame["type"] == FRAME_INDEX:
        physical[1] = [row[:1] for row in physical[1]]
    else:
        physical[6] = [[at, [row[:2] for row in rows]] for at, rows in physical[6]]
        physical[8] = [row[:1] for row in physical[8]]
        physical[9:] = [[row[:1] for row in rows] for rows in physical[9:]]
        physical[7] = len(physical[7])
    return kept | {"physical": physical}


def test_every_part_of_the_format_is_in_some_vector() -> None:
    frames = [frame for name in NAMES for kind in ("frames", "documents") for frame in _read(name).get(kind, [])]
    assert {frame["type"] for frame in frames} == {
        FRAME_LEAF,
        FRAME_INDEX,
        FRAME_PAGE,
        FRAME_DOCUMENT,
        FRAME_DOCUMENTED,
        FRAME_IDENTIFIED,
    }
    leaves = [frame for frame in frames if frame["type"] == FRAME_LEAF and "logical" in frame]
    assert all(any(leaf["logical"][column] for leaf in leaves) for column in range(7))
    assert all(any(leaf["physical"][column] for leaf in leaves) for column in range(9))
    kinds = b"".join(bytes.fromhex(leaf["logical"][1][2:]) for leaf in leaves)
    assert set(kinds) == {0, 1, 2, 3}
    for frame in frames:
        if "bytes" in frame:
            decode_frame(bytes.fromhex(frame["bytes"]))


def test_records_both_ways() -> None:
    stored = json.loads((VECTORS / "records.json").read_text())
    assert stored == records()
    commit = Commit.decode(stored["commit"].encode(), bytes.fromhex(stored["commit_id"]))
    assert commit.encode().decode() == stored["commit"]
    assert RefRecord.decode(stored["ref"].encode()).encode().decode() == stored["ref"]
    assert RefRecord.decode(stored["deleted"].encode()).commit is None
    assert DatasetInfo.decode(stored["info"].encode()).encode().decode() == stored["info"]


def _table(heading: str) -> list[list[str]]:
    """Return the cells of the first table below a heading of FORMAT.md."""
    text = FORMAT.read_text().split(f"{heading}\n", 1)[1]
    lines = [line for line in text.split("\n#", 1)[0].splitlines() if line.startswith("|")]
    return [[cell.strip().strip("`") for cell in line.strip("|").split("|")] for line in lines[2:]]


def test_the_table_of_cuts() -> None:
    rows = _table("### Names and the levels that they end")
    assert len(rows) >= 6
    assert {int(row[2]) for row in rows} >= {0, 1, 2, 3}
    for name, digest, level in rows:
        assert blake3(name.encode()).digest(8).hex() == digest
        assert cut_level(name.encode()) == int(level)


def test_the_table_of_canonical_json() -> None:
    rows = _table("### Values and their bytes")
    assert len(rows) >= 6
    for value, body in rows:
        assert canonical_json(json.loads(value)) == body.encode()


def test_the_table_of_limits() -> None:
    from penstock.manifest import entry, frame, metadata, records, rules, split

    known = {
        name: value
        for module in (entry, frame, metadata, records, rules, split)
        for name, value in vars(module).items()
        if name.isupper() and isinstance(value, int)
    }
    rows = _table("## Limits")
    assert len(rows) >= 15
    for name, value, _ in rows:
        assert known[name] == int(value.replace(" ", "")), name


def test_a_place_in_a_vector_is_in_its_pack() -> None:
    for name in NAMES:
        stored = _read(name)
        root = Manifest.decode(stored["manifest"].encode(), bytes.fromhex(stored["top_hash"])).root
        last = stored["frames"][-1]
        assert root.location == Location(
            bytes.fromhex(stored["pack"]),
            sum(frame["length"] for frame in stored["frames"][:-1]),
            last["length"],
            bytes.fromhex(last["digest"]),
        )
