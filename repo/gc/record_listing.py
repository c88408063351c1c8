"""All records of a bucket, found in two ways that have to agree: the one place from which `gc` knows refs.

One listing goes through every key below `.penstock/datasets/`; others ask folder by folder for datasets, branches and
tags. What only one of them shows is looked at again, since somebody may just have made it. If it stays so, the server
leaves something out, and nobody can say what is garbage. Records of refs are never deleted, so what was once seen has
to be there: what is not listed any more is asked for by its name.

Blocking; requests of several datasets run in the pool that is handed in.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import Executor
from dataclasses import dataclass, field

from penstock.errors import IntegrityError
from penstock.repo.bucket import object_keys
from penstock.store.base import ObjectInfo, Store

__all__ = ["DatasetListing", "check_heads", "check_remembered", "hidden", "list_records", "listed_whole"]

_LOOKS = 3
_HEX = frozenset("0123456789abcdef")
_REFS = ("heads/", "tags/")
_KINDS = frozenset(
    {
        "",
        "approvals",
        "commits",
        "gone",
        "heads",
        "info",
        "manifests",
        "protection",
        "retention",
        "runs",
        "tags",
    }
)
"""Folders of a dataset. In another one a newer Penstock may keep what leads to versions."""


@dataclass(slots=True)
class DatasetListing:
    """What is listed of one dataset. `branches`: the moves of each from the newest on, as far as they were asked for.

    `commits` and `manifests` by hash. `folders` holds what lies directly below ``heads/`` and ``tags/``. `policy` is
    the newest record of how long versions are kept; `gone` are the top hashes of those that were let go by it;
    `stamped` those, and commits, that runs were trained on.
    """

    branches: dict[str, list[ObjectInfo]] = field(default_factory=dict)
    tags: list[ObjectInfo] = field(default_factory=list)
    commits: dict[bytes, ObjectInfo] = field(default_factory=dict)
    manifests: dict[bytes, ObjectInfo] = field(default_factory=dict)
    folders: set[str] = field(default_factory=set)
    policy: ObjectInfo | None = None
    gone: set[bytes] = field(default_factory=set)
    stamped: set[bytes] = field(default_factory=set)

    def refs(self) -> Iterator[str]:
        """Yield the keys of the newest record of each branch, and of the tags."""
        for moves in self.branches.values():
            if moves:
                yield moves[0].key
        for info in self.tags:
            yield info.key


def listed_whole(store: Store, prefix: str) -> Iterator[ObjectInfo]:
    """Yield what a listing shows, and go on behind its last key until there is nothing more.

    So a listing that the server cut off in silence is not taken for the whole.
    """
    last = ""
    while True:
        more = False
        for info in store.list(prefix, start_after=last):
            yield info
            last, more = info.key, True
        if not more:
            return


def list_records(store: Store, pool: Executor, cutoff: float) -> dict[str, DatasetListing]:
    """Return the datasets of a bucket. Of a branch, moves up to the first that is older than `cutoff`.

    IntegrityError: the ways of listing do not agree, or what lies among the records of a branch is none.
    """
    disputed: set[str] = set()
    flat: set[str] = set()
    for look in range(_LOOKS):
        found = _list_flat(store, cutoff)
        flat = set(found) | {f"{name}/{folder}" for name, listing in found.items() for folder in listing.folders}
        different = flat ^ _list_folders(store, pool)
        disputed = disputed & different if look else different
        if not disputed:
            return found
    one = min(disputed)
    shown, hidden = ("flat", "by folder") if one in flat else ("by folder", "flat")
    raise IntegrityError(
        f"the listings of {store.url} contradict each other",
        why=f"one that is {shown} shows {object_keys.DATASETS}{one}, and one that is {hidden} does not "
        f"({len(disputed)} such names), so nobody can say what is garbage",
        fix="Nothing was deleted. Use a server that lists as S3 does; penstock doctor --write BUCKET tries it.",
    )


def check_heads(store: Store, pool: Executor, found: dict[str, DatasetListing]) -> None:
    """Raise IntegrityError when a branch has a newer record than a listing shows: it is asked for by its name."""
    branches = [
        (object_keys.head_prefix(name, branch), moves[0].key)
        for name, listing in found.items()
        for branch, moves in listing.branches.items()
        if moves
    ]

    def newest(branch: tuple[str, str]) -> str | None:
        prefix, key = branch
        number = object_keys.number_of(prefix, key)
        following = object_keys.number_key(prefix, number + 1) if number is not None else ""
        if not following or store.head(following) is None:
            return None
        # Somebody may have moved the branch since.
        listed = next((info.key for info in store.list(prefix, limit=2) if info.key != prefix), "")
        return following if listed > following or not listed else None

    for key in filter(None, pool.map(newest, branches)):
        raise hidden(store, key)


def check_remembered(store: Store, pool: Executor, remembered: Iterable[str], found: dict[str, DatasetListing]) -> None:
    """Raise IntegrityError when a record of a ref is there that was seen once and is not listed any more."""
    newest: dict[str, str] = {}
    listed: set[str] = set()
    for name, listing in found.items():
        listed.update(info.key for info in listing.tags)
        for branch, moves in listing.branches.items():
            if moves:
                newest[object_keys.head_prefix(name, branch)] = moves[0].key

    def is_listed(key: str) -> bool:
        # The newest record sorts first: what sorts behind it is an older one.
        return key in listed or key >= newest.get(key[: key.rfind("/") + 1], "\U0010ffff")

    missing = [key for key in remembered if not is_listed(key)]
    for key, info in zip(missing, pool.map(store.head, missing), strict=True):
        if info is not None:
            raise hidden(store, key)


def hidden(store: Store, key: str) -> IntegrityError:
    """Return the error for an object that is there and that a listing does not show."""
    return IntegrityError(
        f"a listing of {store.url} leaves out {key!r}",
        why="the object is there when it is asked for by its name",
        fix="Nothing was deleted. Use a server that lists as S3 does; penstock doctor --write BUCKET tries it.",
    )


def _unknown(store: Store, key: str) -> IntegrityError:
    return IntegrityError(
        f"{key!r} in {store.url} is of a kind that this Penstock does not know",
        why="a newer one may have written it, to keep versions that nothing else leads to",
        fix="Nothing was deleted. Upgrade Penstock; or remove the object, if something else put it there.",
    )


def _list_flat(store: Store, cutoff: float) -> dict[str, DatasetListing]:
    found: dict[str, DatasetListing] = {}
    for info in listed_whole(store, object_keys.DATASETS):
        name, slash, rest = info.key[len(object_keys.DATASETS) :].partition("/")
        if not slash:
            continue  # no record: it lies beside the datasets
        listing = found.setdefault(name, DatasetListing())
        kind, _, record = rest.partition("/")
        if kind in ("commits", "manifests"):
            if len(record) == 64 and _HEX.issuperset(record):
                (listing.commits if kind == "commits" else listing.manifests)[bytes.fromhex(record)] = info
            continue
        if kind not in _KINDS:
            raise _unknown(store, info.key)
        if kind == "retention" and record and listing.policy is None:
            listing.policy = info
        elif kind == "gone":
            listing.gone |= _hashes(record)
        elif kind == "runs" and not info.key.endswith("/"):
            parts = object_keys.training_parts(name, info.key)
            if parts is None:
                raise _unknown(store, info.key)
            listing.stamped.update(filter(None, parts[:2]))
        for folder in _REFS:
            if rest.startswith(folder) and record:
                first, slash, _ = record.partition("/")
                listing.folders.add(folder + first + slash)
        if kind == "tags" and record:
            listing.tags.append(info)
        elif kind == "heads" and "/" in record:
            _add_move(store, listing, name, info, cutoff)
    return found


def _hashes(*names: str) -> set[bytes]:
    return {bytes.fromhex(name) for name in names if len(name) == 64 and _HEX.issuperset(name)}


def _add_move(store: Store, listing: DatasetListing, dataset: str, info: ObjectInfo, cutoff: float) -> None:
    heads = object_keys.head_prefix(dataset, "")[:-1]
    branch, _, number = info.key[len(heads) :].partition("/")
    moves = listing.branches.setdefault(branch, [])
    if not number:
        return  # the marker that a console makes for a folder
    if moves and moves[-1].is_older(cutoff):
        return  # where it stood when the grace period began is known
    prefix = object_keys.head_prefix(dataset, branch)
    if object_keys.number_of(prefix, info.key) is None:
        raise IntegrityError(
            f"{info.key!r} in {store.url} does not belong there",
            why="the records of a ref are named by 16 hex digits",
            fix="Remove the object; Penstock did not write it.",
        )
    moves.append(info)


def _list_folders(store: Store, pool: Executor) -> set[str]:
    datasets = list(store.list_folders(object_keys.DATASETS))

    def below(place: tuple[str, str]) -> set[str]:
        dataset, folder = place
        prefix = object_keys.dataset_prefix(dataset) + folder
        level = store.list_level(prefix)
        names = {f"{name}/" for name in level.folders} | {info.key[len(prefix) :] for info in level.objects}
        return {f"{dataset}/{folder}{name}" for name in names - {""}}

    places = [(dataset, folder) for dataset in datasets for folder in _REFS]
    return set(datasets).union(*pool.map(below, places))
