"""The test vectors of docs/FORMAT.md: trees described in JSON, and the bytes and hashes that they must give.

``vector`` makes one from a tree; ``tree_of`` reads the description back. Run as a program it writes the files anew:
that is for a new vector, never for an old one. What a vector says is the format.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from blake3 import blake3

from penstock.manifest.build import TreeBuilder, keep_metadata
from penstock.manifest.entry import Extent, External, Kind, Metadata, NodeRef, TreeEntry
from penstock.manifest.frame import FRAME_DOCUMENT, FRAME_PAGE, decode_frame, frames_around
from penstock.manifest.hashing import content_hash, hash_of_blocks
from penstock.manifest.identity import identity_entry
from penstock.manifest.metadata import canonical_json, parse_metadata
from penstock.manifest.node import IndexNode
from penstock.manifest.records import Commit, DatasetInfo, Manifest, RefRecord

from .forge import parts_of
from .model import File, Folder, fill
from .packs import PackSink

__all__ = ["filled", "plain", "records", "tree_of", "trees", "vector"]

_MIB = 1 << 20
_LARGEST_SHOWN = 4096
"""Frames of more bytes stand in a vector by their hash alone."""


def tree_of(described: dict[str, Any]) -> Folder:
    """Read a tree from its description."""
    children: dict[bytes, File | Folder] = {}
    if "numbered" in described:
        children = _numbered(described["numbered"])
    for item in described.get("entries", []):
        name = bytes.fromhex(item["name"])
        children[name] = tree_of(item) if item["kind"] == Kind.DIRECTORY else _file_of(name, item)
    metadata = canonical_json(filled(described.get("metadata")))
    return Folder(children, described.get("mtime_ns") or None, metadata)


def _file_of(name: bytes, item: dict[str, Any]) -> File:
    target = bytes.fromhex(item.get("target", ""))
    blocks = b""
    if "blocks" in item:  # the first bytes of the extended output of BLAKE3 stand for the hashes of that many blocks
        blocks = blake3(bytes.fromhex(item["blocks"]["of"])).digest(32 * item["blocks"]["count"])
    extents = tuple(
        Extent(
            bytes.fromhex(found["object"]) if isinstance(found["object"], str) else External(**found["object"]),
            found["offset"],
            found["length"],
        )
        for found in item.get("extents", [])
    )
    entry = TreeEntry(
        name,
        Kind(item["kind"]),
        item["size"],
        bytes.fromhex(item["hash"]),
        item["mtime_ns"] or None,
        canonical_json(filled(item.get("metadata"))),
        target,
        extents,
    )
    return File(entry, blocks)


def _numbered(count: int) -> dict[bytes, File | Folder]:
    """Make so many empty files named by five decimal digits: more than one node holds, in a line of JSON."""
    return {b"%05d" % number: _content(b"%05d" % number, b"", 0) for number in range(count)}


def _described(folder: Folder, seeds: dict[bytes, bytes]) -> dict[str, Any]:
    entries = []
    if len(folder.children) > 100:
        assert folder.children == _numbered(len(folder.children))
        return {"numbered": len(folder.children)}
    for name, item in sorted(folder.children.items()):
        said: dict[str, Any] = {"name": name.hex()}
        if isinstance(item, Folder):
            said |= {"kind": int(Kind.DIRECTORY), "mtime_ns": item.mtime_ns or 0, **_metadata(item.metadata)}
            entries.append(said | _described(item, seeds))
            continue
        entry = item.entry
        said |= {"kind": int(entry.kind), "size": entry.size, "hash": entry.hash.hex(), "mtime_ns": entry.mtime_ns or 0}
        said |= _metadata(entry.metadata)
        if entry.target:
            said["target"] = entry.target.hex()
        if item.blocks:
            said["blocks"] = {"of": seeds[item.blocks].hex(), "count": len(item.blocks) // 32}
        if entry.extents:
            said["extents"] = [_extent(extent) for extent in entry.extents]
        entries.append(said)
    return {"entries": entries}


def _metadata(body: Metadata) -> dict[str, Any]:
    assert isinstance(body, bytes)
    return {"metadata": _short(parse_metadata(body))} if body else {}


def _short(metadata: dict[str, Any]) -> dict[str, Any]:
    text = metadata.get("filled")
    return {"filled": len(text)} if isinstance(text, str) and filled({"filled": len(text)}) == metadata else metadata


def filled(metadata: dict[str, Any] | None) -> dict[str, Any] | None:
    """Return the metadata that a description stands for: one member `filled`, a number, is a text of so many `m`."""
    if metadata is not None and isinstance(count := metadata.get("filled"), int):
        return {"filled": "m" * count}
    return metadata


def _extent(extent: Extent) -> dict[str, Any]:
    found = extent.object
    if isinstance(found, bytes):
        where: Any = found.hex()
    else:
        where = {"uri": found.uri, "version_id": found.version_id, "etag": found.etag}
        if found.size is not None:
            where["size"] = found.size
    return {"object": where, "offset": extent.offset, "length": extent.length}


def vector(folder: Folder, metadata: dict[str, Any]) -> dict[str, Any]:
    """Return all that a tree gives: hashes, the manifest, the pack with its frames taken apart."""
    sink = PackSink(1 << 30)
    builder = TreeBuilder(sink)
    fill(builder, folder)
    root = builder.finish()
    held = keep_metadata(canonical_json(metadata), sink)
    sink.close()
    *documents, pack = sink.packs.values()
    root = sink.located(root)
    manifest = Manifest(root, held)
    return {
        "metadata": _short(metadata),
        "top_hash": manifest.top_hash.hex(),
        "top_hash_of": manifest.logical.hex(),
        "root": {"hash": root.hash.hex(), "entries": root.entries, "size": root.size},
        "manifest": manifest.encode().decode(),
        "pack": content_hash(pack).hex(),
        "nodes": _nodes(root, sink),
        **({"documents": [_frame(document) for document in documents]} if documents else {}),
        "frames": [_frame(pack[at : at + length]) for at, length in sorted(frames_around(pack, 0))],
    }


def _nodes(root: NodeRef, sink: PackSink) -> list[dict[str, Any]]:
    found = []
    stack = [root]
    while stack:
        ref = stack.pop()
        node = sink.load(ref)
        said = {"level": node.level, "hash": ref.hash.hex(), "entries": ref.entries, "size": ref.size}
        found.append(said | {"first": node.names[0].hex() if len(node) else "", "items": len(node)})
        if isinstance(node, IndexNode):
            stack.extend(reversed(node.children))
        else:
            entries = [node.entry(at) for at in range(len(node))]
            stack.extend(entry.directory for entry in reversed(entries) if entry.directory is not None)
    return found


def _frame(frame: bytes) -> dict[str, Any]:
    kind, content = decode_frame(frame)
    said: dict[str, Any] = {"type": kind, "length": len(frame), "digest": content_hash(frame).hex()}
    if len(frame) <= _LARGEST_SHOWN:
        said["bytes"] = frame.hex()
    if kind in (FRAME_PAGE, FRAME_DOCUMENT) or len(content) > _LARGEST_SHOWN:
        return said
    _, logical, physical = parts_of(frame)
    return said | {"logical": plain(logical), "physical": plain(physical)}


def plain(value: Any) -> Any:
    """Return msgpack's values as JSON has them: bytes as text in hex with a mark."""
    if isinstance(value, bytes):
        return f"0x{value.hex()}"
    return [plain(item) for item in value] if isinstance(value, list) else value


def _content(name: bytes, data: bytes, mtime: int | None, kind: Kind = Kind.FILE, metadata: bytes = b"") -> File:
    extents = (Extent(content_hash(b"a pack"), 100, len(data)),) if data else ()
    return File(TreeEntry(name, kind, len(data), content_hash(data), mtime or None, metadata, extents=extents))


def _large(name: bytes, count: int, last: int, extents: tuple[Extent, ...], seeds: dict[bytes, bytes]) -> File:
    blocks = blake3(name).digest(32 * count)
    seeds[blocks] = name
    size = (count - 1) * _MIB + last
    return File(TreeEntry(name, Kind.FILE, size, hash_of_blocks(size, blocks), 0, extents=extents), blocks)


def _piece(number: int, offset: int, length: int) -> Extent:
    return Extent(content_hash(b"piece %d" % number), offset, length)


def trees() -> dict[str, tuple[Folder, dict[str, Any], dict[bytes, bytes]]]:
    """Return the trees of the vectors, with the metadata of the version and what the block hashes come from."""
    seeds: dict[bytes, bytes] = {}
    link = TreeEntry(b"link", Kind.SYMLINK, 7, content_hash(b"../tool"), -1, target=b"../tool")
    kinds: dict[bytes, File | Folder] = {
        b"data.bin": _content(
            b"data.bin", b"\0\1\2", 1_700_000_000_123_456_789, metadata=canonical_json({"label": "é"})
        ),
        b"empty": _content(b"empty", b"", 0),
        b"folder": Folder({b"inner": Folder({b"file": _content(b"file", b"x", 1)}, 2)}, 3, b'{"n":[1,2.5]}'),
        b"folder.": _content(b"folder.", b"sorts before what lies in folder", 0),
        b"link": File(link),
        b"none": Folder({}, -5),
        b"tool": _content(b"tool", b"#!/bin/sh\n", 0, kind=Kind.EXECUTABLE),
        b"\xff\xfe\n": _content(b"\xff\xfe\n", b"a name that is no text", 0),
    }
    outside = External("s3://elsewhere/a/large%20object", "version", "etag")
    large: dict[bytes, File | Folder] = {
        b"inline": _large(b"inline", 2, 1, (_piece(0, 0, _MIB + 1),), seeds),
        b"most inline": _large(b"most inline", 32, _MIB, (_piece(0, 0, 32 * _MIB),), seeds),
        b"paged": _large(b"paged", 33, _MIB, (_piece(0, 5, 32 * _MIB), _piece(1, 0, _MIB)), seeds),
        b"two pages": _large(b"two pages", 1025, 17, (Extent(outside, 0, 1024 * _MIB + 17),), seeds),
    }
    documents: dict[bytes, File | Folder] = {
        b"beyond": _content(b"beyond", b"x", 0, metadata=canonical_json({"filled": "m" * 65_524})),
        b"folder": Folder({}, 0, canonical_json({"filled": "m" * 1_048_563})),
        b"some": _content(b"some", b"x", 0, metadata=canonical_json({"label": 1})),
    }
    strong = External("s3://elsewhere/a/large%20object", "version", '"0cc175b9c0f1b6a831c399e269772661-5"')
    pinned: dict[bytes, File | Folder] = {
        b"by etag": File(identity_entry(b"by etag", strong, 40 * _MIB, -1)),
        b"by version": File(identity_entry(b"by version", External("s3://elsewhere/b", "version"), 1)),
        b"document": File(
            identity_entry(
                b"document", External("s3://elsewhere/c", None, "c"), 7, 5, canonical_json({"filled": "m" * 65_524})
            )
        ),
        b"own": _content(b"own", b"x", 7),
    }
    return {
        "empty": (Folder(), {}, seeds),
        "one-file": (Folder({b"hello.txt": _content(b"hello.txt", b"hello\n", 0)}), {}, seeds),
        "all-kinds": (Folder(kinds), {"title": "all kinds", "score": 1e22}, seeds),
        "large-files": (Folder(large), {}, seeds),
        "identities": (Folder(pinned), {}, seeds),
        "documents": (Folder(documents), {"filled": "m" * 65_524}, seeds),
        "many-files": (Folder({b"many": Folder(_numbered(3000))}), {}, seeds),
    }


def records() -> dict[str, Any]:
    """Return a record of each kind that stands beside a manifest, as it is stored."""
    digest, when = content_hash(b"x"), "2026-11-21T08:40:00.000000Z"
    commit = Commit(digest, 3, 40, (digest,), "Ada <ada@example.org>", when, "why", {"penstock": "0.1.0"})
    moved = RefRecord(digest, digest, "Ada <ada@example.org>", when, "push", "00112233445566778899aabbccddeeff")
    deleted = RefRecord(None, None, "Ada <ada@example.org>", when, "delete", "ffeeddccbbaa99887766554433221100")
    info = DatasetInfo("Title", "Text", "Ada <ada@example.org>", when, "00112233445566778899aabbccddeeff")
    return {
        "commit": commit.encode().decode(),
        "commit_id": blake3(commit.encode(), derive_key_context="penstock 1 commit").hexdigest(),
        "ref": moved.encode().decode(),
        "deleted": deleted.encode().decode(),
        "info": info.encode().decode(),
    }


def _write(folder: Path) -> None:
    for name, (tree, metadata, seeds) in trees().items():
        body = {"tree": _described(tree, seeds), **vector(tree, metadata)}
        (folder / f"{name}.json").write_text(json.dumps(body, indent=1) + "\n")
    (folder / "records.json").write_text(json.dumps(records(), indent=1) + "\n")


if __name__ == "__main__":
    _write(Path(sys.argv[1]))
