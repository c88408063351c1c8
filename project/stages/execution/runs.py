"""The run cache: what runs made, by all that they were run with, kept in the bucket for whoever runs the same.

    .penstock/runs/KEY                 one run of a stage: paths and top hashes of its outputs
    .penstock/runs/each/COMMAND/HASH   items of a per-file stage: key of the input, then path, hash and kind of what was
                                       made of it in the version `top`; named by the hash of its own bytes

Records are created once and never changed, so machines need not agree on anything: of two that ran the same, the first
has said it. A record says which versions there are, and those are verified by their top hashes as any other; that they
are what the command makes is the word of whoever may write to the bucket. A stage takes from it only what its own file
says that it makes. What it names may have been collected as garbage: then it counts as not there.

Blocking; thread-safe as its stores are.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Collection, Container, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from penstock.errors import AccessError, IntegrityError, NotFoundError, PenstockError, StoreUnreachableError
from penstock.manifest.hashing import content_hash
from penstock.project.stages.definition.lock_file import Kind, MadeOutput
from penstock.repo.bucket import object_keys

if TYPE_CHECKING:
    from penstock.store.base import Store

__all__ = ["KnownItems", "MadeItem", "RunCache", "send_runs"]

_FORMAT = 1
_MOST_RUN = 4 << 20
_MOST_ITEMS = 50_000
"""Items in one record."""
_MOST_RECORD = 32 << 20
_MOST_RECORDS = 100_000
_REQUESTS = 16
_EACH = object_keys.RUNS + "each/"
_HASH = re.compile(r"[0-9a-f]{64}\Z")


class _OutputForm(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    path: str
    kind: Kind
    hash: str
    entries: int
    bytes: int


class _RunForm(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    format: int
    outputs: list[_OutputForm]


class _ItemsForm(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    format: int
    top: str
    items: list[tuple[str, str, str, bool]]


class MadeItem(NamedTuple):
    """What came of one input: a file at `path` of the version `top`, with this hash; an empty path: nothing."""

    top: str
    path: str
    hash: str
    is_executable: bool


class KnownItems(NamedTuple):
    """What came of inputs, by what each is known by; and all versions that records of the command name, in a dict."""

    items: dict[str, MadeItem]
    tops: dict[str, None]


class RunCache:
    """Runs that are known in some buckets: `here`, to which what is new is written, and others; opened when needed."""

    def __init__(
        self,
        here: Callable[[], Store],
        elsewhere: Callable[[], Sequence[Store]] = tuple,
        give_up: Callable[[PenstockError], None] = lambda _: None,
    ) -> None:
        self._here = here
        self._elsewhere = elsewhere
        self._give_up = give_up

    def find(self, key: str) -> dict[str, MadeOutput] | None:
        """Return what the run with this key made, by path; None when nobody has run it. A damaged record is none."""
        if (known := _read_run(self._here(), key)) is not None:
            return known
        try:
            return next((run for store in self._elsewhere() if (run := _read_run(store, key)) is not None), None)
        except (AccessError, StoreUnreachableError) as error:
            self._give_up(error)
            return None

    def note(self, key: str, outputs: Mapping[str, MadeOutput]) -> None:
        """Note what a run made, unless somebody has."""
        rows = [
            _OutputForm(path, each.kind, each.hash, each.entries, each.bytes) for path, each in sorted(outputs.items())
        ]
        self._here().create(_run_key(key), msgspec.json.encode(_RunForm(_FORMAT, rows)))

    def items(self, command: str, wanted: Collection[str]) -> KnownItems:
        """Return which of the wanted inputs were processed by a command, and what came of them."""
        known = KnownItems({}, {})
        seen: set[str] = set()
        _take_items(self._here(), command, wanted, known, seen)
        if len(known.items) < len(wanted):
            try:
                for store in self._elsewhere():
                    _take_items(store, command, wanted, known, seen)
            except (AccessError, StoreUnreachableError) as error:
                self._give_up(error)
        return known

    def note_items(self, command: str, top: str, items: Iterable[tuple[str, MadeItem]]) -> None:
        """Note what a command made of inputs, all of it in one version."""
        import zstandard

        rows = sorted((given, item.path, item.hash, item.is_executable) for given, item in items)
        for at in range(0, len(rows), _MOST_ITEMS):
            form = _ItemsForm(_FORMAT, top, rows[at : at + _MOST_ITEMS])
            body = zstandard.ZstdCompressor(level=3).compress(msgspec.json.encode(form))
            self._here().create(object_keys.item_prefix(bytes.fromhex(command)) + content_hash(body).hex(), body)


def send_runs(here: Store, to: Store, pushed: Container[bytes], sent: Container[bytes]) -> list[bytes]:
    """Copy records of runs to a bucket; return what to note of each, so that it is not looked at again.

    Those are sent whose versions are among `pushed`, and which are not among `sent`.
    """
    new: list[str] = []
    items: dict[str, list[tuple[str, bool]]] = defaultdict(list)
    for info in here.list(object_keys.RUNS):
        above, _, name = info.key.rpartition("/")
        if not _HASH.match(name):
            continue
        if info.key.startswith(_EACH):
            form = _read_items(here, info.key)
            items[above].append((info.key, form is not None and bytes.fromhex(form.top) in pushed))
        elif bytes.fromhex(name) not in sent:
            tops = [bytes.fromhex(each.hash) for each in (_read_run(here, name) or {}).values()]
            new += [info.key] if tops and all(top in pushed for top in tops) else []
    # What was made of an input is in every later version of the output too: one of them is enough for all records.
    for records in items.values():
        if any(is_pushed for _, is_pushed in records):
            new += [key for key, _ in records if bytes.fromhex(key.rpartition("/")[2]) not in sent]
    for key in new:
        to.create(key, here.get(key, limit=_MOST_RECORD))
    return [bytes.fromhex(key.rpartition("/")[2]) for key in new]


def _run_key(key: str) -> str:
    return object_keys.run_key(bytes.fromhex(key))


def _read_run(store: Store, key: str) -> dict[str, MadeOutput] | None:
    try:
        form = msgspec.json.decode(store.get(_run_key(key), limit=_MOST_RUN), type=_RunForm)
    except (NotFoundError, IntegrityError, msgspec.MsgspecError):
        return None
    outputs = {each.path: MadeOutput(each.kind, each.hash, each.entries, each.bytes) for each in form.outputs}
    is_whole = form.format == _FORMAT and all(_HASH.match(each.hash) for each in outputs.values())
    return outputs if is_whole else None


def _take_items(store: Store, command: str, wanted: Collection[str], known: KnownItems, seen: set[str]) -> None:
    """Add what a bucket knows of the wanted inputs to what is known; `seen` are the records that were read."""
    keys = [key for key in _item_keys(store, command) if key not in seen]
    seen.update(keys)
    with ThreadPoolExecutor(_REQUESTS, "penstock-runs") as pool:
        for form in pool.map(lambda key: _read_items(store, key), keys):
            if form is None:
                continue
            known.tops[form.top] = None
            for given, path, digest, executable in form.items:
                if given in wanted and given not in known.items:
                    known.items[given] = MadeItem(form.top, path, digest, executable)


def _item_keys(store: Store, command: str) -> Iterator[str]:
    prefix = object_keys.item_prefix(bytes.fromhex(command))
    for info in store.list(prefix, limit=_MOST_RECORDS):
        if _HASH.match(info.key.removeprefix(prefix)):
            yield info.key


def _read_items(store: Store, key: str) -> _ItemsForm | None:
    """Return a record; None when it is gone, or is not what its name says."""
    import zstandard

    try:
        body = store.get(key, limit=_MOST_RECORD)
        if content_hash(body).hex() != key.rpartition("/")[2]:
            return None
        if not 0 < zstandard.frame_content_size(body) <= _MOST_RECORD:  # what a frame says is what is allocated
            return None
        plain = zstandard.ZstdDecompressor().decompress(body)
        form = msgspec.json.decode(plain, type=_ItemsForm)
    except (NotFoundError, IntegrityError, zstandard.ZstdError, msgspec.MsgspecError):
        return None
    is_whole = form.format == _FORMAT and _HASH.match(form.top)
    return form if is_whole and all(_HASH.match(row[0]) and _is_path(row[1]) for row in form.items) else None


def _is_path(path: str) -> bool:
    return all(name not in {"", ".", ".."} and "\0" not in name for name in path.split("/")) if path else True
