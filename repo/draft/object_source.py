"""Objects of S3 as entries of a tree that is not published: left where they lie, hashed by reading each once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, closing
from urllib.parse import parse_qsl, unquote, urlsplit

from penstock.errors import CancelledError, NotFoundError, PenstockError, UnreadableError, UsageError
from penstock.manifest.build import TreeBuilder, with_blocks
from penstock.manifest.entry import NodeRef, TreeEntry
from penstock.manifest.tree import Tree
from penstock.progress import Stage
from penstock.repo.fetch.externals import Externals
from penstock.repo.push.directory_walk import Skipped
from penstock.repo.push.in_place import InPlaceRegistrar, Registered
from penstock.repo.push.local_tree import threads
from penstock.store.base import ObjectInfo, Store
from penstock.store.keys import check_key

from .draft_tree import Path
from .frame_file import FrameFile

__all__ = ["draft_many", "draft_object", "draft_objects", "is_object_address"]

_TOGETHER = 16


def is_object_address(text: str) -> bool:
    """Whether a text names something in S3."""
    return text.startswith("s3://")


def draft_objects(
    address: str,
    externals: Externals,
    frames: FrameFile,
    known: Tree | None,
    reading: Stage,
    *,
    identity: bool = False,
) -> tuple[NodeRef, Sequence[Skipped], int]:
    """Read the objects below ``s3://bucket/prefix/`` into a tree.

    Returns its root, keys that no path can have, and how many objects could not be pinned.

    `known` is what the tree has there: an object that it points to already is not read again. UnreadableError names
    objects that cannot be read. NotFoundError: there is none. With `identity`, none is read.
    """
    with (
        ThreadPoolExecutor(threads(), "penstock-read") as pool,
        closing(externals.open(address.rstrip("/"))) as store,
    ):
        builder = TreeBuilder(frames)
        registrar = InPlaceRegistrar(builder, known, pool, reading, identity=identity)
        root = registrar.objects(store)
    if registrar.unreadable:
        count = len(registrar.unreadable)
        raise UnreadableError(
            f"{count} object{'' if count == 1 else 's'} of {address} cannot be added",
            why="nothing was added",
            fix="Mend what is named, or add what is beside it.",
            candidates=[f"{key}: {why}" for key, why in registrar.unreadable],
        )
    if not root.entries:
        raise NotFoundError(f"no objects below {address}", fix="Check the address; `aws s3 ls` lists a prefix.")
    return root, registrar.skipped, registrar.unpinned


def draft_object(
    address: str, path: Path, externals: Externals, frames: FrameFile, reading: Stage, *, identity: bool = False
) -> TreeEntry:
    """Read one object, ``s3://bucket/key[?versionId=ID]``, and return the entry that points to it.

    With `identity`, it is not read, but only asked for.

    NotFoundError: there is none, or not in this version. AccessError: it may not be read.
    """
    bucket, key, version = _parse(address)
    with (
        ThreadPoolExecutor(1) as pool,
        closing(externals.open(f"s3://{bucket}", key)) as store,
    ):
        registrar = InPlaceRegistrar(TreeBuilder(frames), None, pool, reading)
        if version is None:
            found = store.head(key)
        else:
            each = next((each for each in store.versions(key) if (each.key, each.version_id) == (key, version)), None)
            found = (
                ObjectInfo(key, each.size, each.modified, each.etag, version)
                if each is not None and not each.is_marker
                else None
            )
        if found is None:
            raise NotFoundError(f"no object {address}", fix="Check the address; `aws s3 ls` lists what there is.")
        pin = registrar.identify_object if identity else registrar.read_object
        entry, blocks = pin(store, path[-1], found, exact=version is not None)
    return with_blocks(entry, blocks, frames.write) if blocks else entry


def draft_many(
    wanted: Sequence[tuple[Path, str]], externals: Externals, frames: FrameFile, reading: Stage, *, identity: bool
) -> Iterator[TreeEntry | PenstockError]:
    """Read objects, some at a time, and yield for each, in order, the entry that points to it, or what is wrong.

    Raises nothing but what ends all of it: the end was asked for.
    """
    with ExitStack() as stack:
        pool = stack.enter_context(ThreadPoolExecutor(_TOGETHER, "penstock-read"))
        stores: dict[tuple[str, str | None], Store] = {}
        registrar = InPlaceRegistrar(TreeBuilder(frames), None, pool, reading)

        def read(path: Path, address: str, store: Store) -> Registered | PenstockError:
            try:
                _, key, version = _parse(address)
                found = store.head(key) if version is None else None
                if found is None:
                    return NotFoundError(f"no object {address}", fix="Check the address.")
                pin = registrar.identify_object if identity else registrar.read_object
                made = pin(store, path[-1], found)
            except CancelledError:
                raise
            except PenstockError as error:
                return error
            reading.advance(0)  # so that it ends when it is to
            return made

        futures: list[Future[Registered | PenstockError] | PenstockError] = []
        for path, address in wanted:
            try:
                bucket, key, _ = _parse(address)
                root = f"s3://{bucket}"
                where = root, externals.remote_of(f"{root}/{key}")
                if where not in stores:
                    stores[where] = stack.enter_context(closing(externals.open(root, key)))
                futures.append(pool.submit(read, path, address, stores[where]))
            except PenstockError as error:
                futures.append(error)
        for future in futures:
            done = future if isinstance(future, PenstockError) else future.result()
            if isinstance(done, PenstockError):
                yield done
            else:
                yield with_blocks(done.entry, done.blocks, frames.write) if done.blocks else done.entry


def _parse(address: str) -> tuple[str, str, str | None]:
    parts = urlsplit(address)
    asked = dict(parse_qsl(parts.query))
    if set(asked) - {"versionId"} or not parts.netloc:
        raise UsageError(f"{address!r} is no address of an object", fix="Write s3://bucket/key[?versionId=ID].")
    key = unquote(parts.path.removeprefix("/"), errors="surrogateescape")
    return parts.netloc, check_key(key), asked.get("versionId")
