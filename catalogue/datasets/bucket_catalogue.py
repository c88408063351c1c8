"""One bucket as a catalogue has it: which datasets are in it, what is said of each, and what one may do with it.

A dataset's hash is of its bucket's address and its name: whoever reaches the bucket knows it without asking. What is
said of one is a few records; nothing reads a manifest of many entries. Blocking, any thread.
"""

from __future__ import annotations

import datetime as dt
import re
import secrets
import threading
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from penstock.api.datasets.dataset import Dataset
from penstock.api.handles import DEFAULT_BRANCH, Handle
from penstock.api.per_process import PerProcess
from penstock.api.settings import Settings
from penstock.catalogue.orm.dataset import CreatedDataset, DatasetInfo, DatasetUserRole, StorageLocation
from penstock.errors import AccessError, ConflictError, NotFoundError, PenstockError, UsageError
from penstock.lru import Lru
from penstock.manifest.hashing import content_hash
from penstock.manifest.records import RefRecord
from penstock.manifest.records import parse_time as parse_record_time
from penstock.repo.bucket import object_keys
from penstock.repo.bucket.stored_records import read_record
from penstock.repo.refs.refs import nearest
from penstock.repo.refs.repository import Repository, VersionId, datasets_in
from penstock.repo.session.bucket_session import BucketSession, open_session
from penstock.repo.write.authorship import default_author

__all__ = ["BucketCatalogue", "BucketCatalogues", "name_of_title", "named_hash", "user_hash"]

_TOGETHER = 16
_ROLE_SECONDS = 60.0
_REMEMBERED = 10_000
_Newest = tuple[str, str | None, float | None, int] | None
"""Key, ETag, time and size of a record."""
_NO_NAME = re.compile(r"[^a-z0-9._-]+")


def named_hash(purpose: str, *parts: str) -> str:
    """Return a name that stands for texts: the same everywhere."""
    body = "\0".join((f"penstock catalogue {purpose}", *parts)).encode("utf-8", "surrogateescape")
    return str(uuid.UUID(bytes=content_hash(body)[:16]))


def user_hash(author: str) -> str:
    """Return the hash that stands for who wrote something."""
    return named_hash("user", author)


def name_of_title(title: str) -> str:
    """Return what a dataset of this title is called in its bucket. UsageError: nothing of it can be a name."""
    name = _NO_NAME.sub("-", title.lower()).strip("-._")[:100].rstrip("-._")
    if not name:
        raise UsageError(f"no name can be made of the title {title!r}", fix="Give a title with letters or digits.")
    return name


class BucketCatalogue:
    """The datasets of one bucket."""

    def __init__(self, bucket: str, settings: Settings) -> None:
        self.bucket = bucket
        self.settings = settings
        self.address = settings.locate_bucket(bucket)[0].rstrip("/")
        self._session: PerProcess[BucketSession] = PerProcess(partial(open_session, bucket, settings))
        self._role: tuple[float, DatasetUserRole] | None = None
        self._versions: Lru[tuple[str, str | None], tuple[_Newest, VersionId]] = Lru(_REMEMBERED)
        self._infos: Lru[str, tuple[tuple[_Newest, _Newest], DatasetInfo]] = Lru(_REMEMBERED)
        self._lock = threading.Lock()

    @property
    def storage(self) -> StorageLocation:
        """Which kind of store it is."""
        return StorageLocation.CORD_STORAGE if self.address.startswith("file:") else StorageLocation.AWS

    @property
    def session(self) -> BucketSession:
        """The bucket, opened."""
        return self._session.get()

    def hash_of(self, name: str) -> str:
        """Return the hash of a dataset of this bucket."""
        return named_hash("dataset", self.address, name)

    def names(self) -> list[str]:
        """Return the names of the datasets."""
        return datasets_in(self.session.store)

    def dataset(self, name: str) -> Dataset:
        """Return a dataset by its name, whether it is there or not."""
        return Dataset(Handle(self.bucket, name), self.settings)

    def infos(self, names: Sequence[str] | None = None) -> Iterator[DatasetInfo]:
        """Yield what is said of datasets, by default of all; one that is empty of versions is left out."""
        known = self.names() if names is None else names
        with ThreadPoolExecutor(_TOGETHER, "penstock-catalogue") as pool:
            for found in pool.map(self._info_if_there, known):
                if found is not None:
                    yield found

    def _info_if_there(self, name: str) -> DatasetInfo | None:
        try:
            return self.info(name)
        except NotFoundError:
            return None

    def _newest(self, prefix: str) -> _Newest:
        """Return what a listing says of the newest record of a ref: while it says the same, that is the same."""
        for found in self.session.store.list(prefix, limit=2):
            if found.key != prefix and (found.etag or found.modified):
                return found.key, found.etag, found.modified, found.size
        return None

    def version(self, name: str, ref: str | None) -> VersionId:
        """Return what a ref of a dataset leads to now; where a branch has not moved, that is known from one listing.

        Errors as `Repository.resolve`.
        """
        newest = self._newest(object_keys.head_prefix(name, ref or DEFAULT_BRANCH))
        known = self._versions.get((name, ref))
        if known is not None and newest is not None and known[0] == newest:
            return known[1]
        found = self.session.repository(name).resolve(ref)
        self._versions.put((name, ref), (newest, found))
        return found

    def info(self, name: str) -> DatasetInfo:
        """Return what is said of a dataset. NotFoundError: there is none of this name, or it has no version.

        Its records are read again where the listings of them say something else than the last time.
        """
        prefix = object_keys.dataset_prefix(name)
        newest = self._newest(object_keys.head_prefix(name, DEFAULT_BRANCH)), self._newest(f"{prefix}info/")
        known = self._infos.get(name)
        if known is not None and newest[0] is not None and known[0] == newest:
            return known[1]
        found = self._read_info(name)
        self._infos.put(name, (newest, found))
        return found

    def _read_info(self, name: str) -> DatasetInfo:
        repository = self.session.repository(name)
        head = repository.refs.head(DEFAULT_BRANCH)
        if head is None or head.record.top_hash is None:
            known = self.names()
            raise NotFoundError(f"no dataset {name!r} in {self.address}", fix=nearest(name, known))
        said = repository.refs.info()
        manifest = repository.manifest(head.record.top_hash)
        first = self._first_move(repository) or head.record
        author = said.author if said is not None else first.author
        return DatasetInfo(
            dataset_hash=self.hash_of(name),
            user_hash=user_hash(author),
            title=(said.title if said is not None else "") or name,
            description=said.description if said is not None else "",
            type=int(self.storage),
            created_at=_time(said.created if said is not None else first.time),
            last_edited_at=_time(head.record.time),
            name=name,
            bucket=self.bucket,
            entries=manifest.root.entries,
            bytes=manifest.root.size,
            top_hash=head.record.top_hash.hex(),
            author=author,
        )

    def _first_move(self, repository: Repository) -> RefRecord | None:
        key = object_keys.number_key(object_keys.head_prefix(repository.dataset, DEFAULT_BRANCH), 0)
        try:
            return read_record(repository.store, key, RefRecord.decode)
        except NotFoundError:
            return None

    def role(self) -> DatasetUserRole:
        """Return what one may do here, tried once a minute: an object is written and deleted again."""
        with self._lock:
            if self._role is None or time.monotonic() - self._role[0] > _ROLE_SECONDS:
                self._role = (time.monotonic(), self._tried_role())
            return self._role[1]

    def _tried_role(self) -> DatasetUserRole:
        store = self.session.store
        key = f"{object_keys.PROBES}{secrets.token_hex(16)}"
        try:
            store.put(key, b"may this bucket be written?")
            store.delete([key])
        except AccessError:
            return DatasetUserRole.USER
        return DatasetUserRole.ADMIN

    def create(self, title: str, description: str = "", *, name: str | None = None, author: str = "") -> CreatedDataset:
        """Make a dataset with an empty version; its name is made of its title. ConflictError: the name is taken.

        A name that was made of a title that another dataset has gets a number.
        """
        wanted, who = name or name_of_title(title), author or default_author()
        taken = set(self.names())
        free = wanted
        for number in range(2, 1000):
            if name is not None or free not in taken:
                break
            free = f"{wanted}-{number}"
        if free in taken:
            raise ConflictError(f"there is a dataset {free!r} in {self.address}", fix="Choose another name.")
        self.dataset(free).create(title=title, description=description, author=who)
        return CreatedDataset(
            title=title or free, type=int(self.storage), dataset_hash=self.hash_of(free), user_hash=user_hash(who)
        )

    def close(self) -> None:
        """Let go of connections."""
        self._session.close()


class BucketCatalogues:
    """Several buckets, by what they are called here."""

    def __init__(self, buckets: Sequence[str], settings: Settings) -> None:
        self.settings = settings
        self.buckets: Mapping[str, BucketCatalogue] = {bucket: BucketCatalogue(bucket, settings) for bucket in buckets}
        self._places: dict[str, tuple[BucketCatalogue, str]] = {}

    def infos(self) -> Iterator[DatasetInfo]:
        """Yield what is said of all datasets."""
        for found in self.buckets.values():
            yield from found.infos()

    def find(self, name: str) -> tuple[BucketCatalogue, str]:
        """Return where a dataset is, by its hash, ``bucket/name``, or a name that one bucket alone has.

        NotFoundError: there is none.
        """
        place = self._places.get(name) or self._look(name)
        if place is None:
            raise NotFoundError(f"no dataset {name[:200]!r}", fix="`list` shows which there are.")
        return place

    def _look(self, name: str) -> tuple[BucketCatalogue, str] | None:
        bucket, slash, rest = name.rpartition("/")
        if slash and bucket in self.buckets:
            return self.buckets[bucket], rest
        fitting = []
        for found in self.buckets.values():
            for each in found.names():
                hash_ = found.hash_of(each)
                self._places[hash_] = (found, each)
                if name == each:
                    fitting.append((found, each))
        if len(fitting) > 1:
            raise UsageError(f"{len(fitting)} buckets have a dataset {name!r}", fix="Name it by its hash.")
        return self._places.get(name) or (fitting[0] if fitting else None)

    def catalogue_for(self, storage: StorageLocation | None) -> BucketCatalogue:
        """Return the first bucket whose store is of a kind. UsageError: there is none."""
        for found in self.buckets.values():
            if storage is None or found.storage is storage:
                return found
        kinds = ", ".join(sorted({each.storage.name for each in self.buckets.values()}))
        raise UsageError(f"no bucket here is {storage!r}", why=f"there is {kinds or 'none'}", fix="Name one of these.")

    def close(self) -> None:
        """Let go of connections."""
        for found in self.buckets.values():
            try:
                found.close()
            except PenstockError:  # whatever a store says at its end, the others are to be closed
                continue


def _time(text: str) -> dt.datetime:
    return parse_record_time(text, "record")
