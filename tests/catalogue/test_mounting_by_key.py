"""A third party reads a version with nothing but a key: every byte verified, and none of another dataset."""

from __future__ import annotations

import os
import random
from dataclasses import replace

import pytest
from servers.catalogue import running

import penstock
from penstock.catalogue.datasets.reach import covered
from penstock.catalogue.orm.dataset import DatasetScope
from penstock.errors import AccessError, PenstockError, UsageError
from penstock.repo.bucket import object_keys
from penstock.repo.settings.settings import Settings
from penstock.store.base import ByteRange

READ, WRITE = DatasetScope.READ, DatasetScope.WRITE
OURS = {f"ours/{number}.bin": random.Random(number).randbytes(3000 + number) for number in range(40)}
THEIRS = {f"theirs/{number}.bin": random.Random(-number - 1).randbytes(2500 + number) for number in range(40)}


def pushed(folder, name, files):
    for path, body in files.items():
        os.makedirs(folder / os.path.dirname(path), exist_ok=True)
        (folder / path).write_bytes(body)
    penstock.Dataset(f"demo/{name}").push(folder)


@pytest.fixture
def shared(tmp_path, demo, monkeypatch):
    """Serve a bucket of two datasets to a third party who has its own cache, no remote, and a key of one of them."""
    pushed(tmp_path / "one", "ours", {**OURS, "large.bin": random.Random(7).randbytes(5 << 20)})
    pushed(tmp_path / "two", "theirs", THEIRS)
    with running(tmp_path / "state", demo, is_trusting=False) as site:
        ours = site.context.buckets["demo"].hash_of("ours")
        monkeypatch.setenv("PENSTOCK_KEY", site.context.keys.create("third party", [READ], ours).secret)
        monkeypatch.setenv("PENSTOCK_CONFIG", str(tmp_path / "none.toml"))
        monkeypatch.setenv("PENSTOCK_CACHE_DIR", str(tmp_path / "their-cache"))
        yield site


def packs(site, dataset):
    """Return the shared objects that a dataset's files lie in, with their ranges."""
    package = penstock.Package(f"file://{site.context.buckets['demo'].address[7:]}/{dataset}")
    found = set()
    for entry in package:
        for place in entry.physical_keys if entry.is_file() else ():
            found.add((place.uri.partition(".penstock/")[2], place.offset, place.length))
    return sorted((f".penstock/{key}", offset, length) for key, offset, length in found)


def test_a_version_is_read_with_nothing_but_a_key(shared):
    handle = f"{shared.url}/demo/ours"
    with penstock.open(handle) as package:
        for path, body in OURS.items():
            assert package.read(path) == body
        assert package.read("large.bin") == random.Random(7).randbytes(5 << 20)
        assert [each.name for each in package.ls()] == ["large.bin", "ours"]
    assert penstock.open(f"{handle}:main/ours").read("3.bin") == OURS["ours/3.bin"]


def test_a_key_of_one_dataset_opens_no_other_by_its_name(shared):
    with pytest.raises(AccessError, match="refuses") as refused:
        penstock.open(f"{shared.url}/demo/theirs")
    assert "this key does not open" in str(refused.value)
    assert "s3:" not in str(refused.value)
    with pytest.raises(AccessError):
        penstock.open(f"{shared.url}/other/ours")
    assert penstock.Bucket(f"{shared.url}/demo").datasets() == ["ours"]


def test_a_key_of_one_dataset_gets_no_byte_of_another_by_a_hash_that_it_knows(shared):
    store = Settings.load().open_bucket(f"{shared.url}/demo")
    ranges = packs(shared, "theirs")
    assert len(ranges) > 10
    for key, offset, length in ranges:
        with pytest.raises(AccessError):
            store.get(key, ByteRange(offset, length))
    for key, offset, length in packs(shared, "ours"):
        assert len(store.get(key, ByteRange(offset, length))) == length


def test_of_a_pack_that_two_datasets_share_a_key_gets_its_own_part(shared, tmp_path, monkeypatch):
    # A third dataset takes some files of the other one: they stay where they lie, in the middle of its pack.
    monkeypatch.setenv("PENSTOCK_CONFIG", os.path.join(os.environ["HOME"], "penstock.toml"))
    theirs = penstock.Package("demo/theirs")
    builder = penstock.PackageBuilder("demo/part")
    for number in (5, 20):
        builder.add(theirs[f"theirs/{number}.bin"], f"{number}.bin")
    builder.push(allow_missing_readme=True)
    key = shared.context.keys.create("", [READ], shared.context.buckets["demo"].hash_of("part")).secret
    settings = Settings.load()
    settings = replace(settings, store_options=replace(settings.store_options, key=key))
    settings = replace(settings, cache_directory=tmp_path / "third-cache")
    package = penstock.Package(f"{shared.url}/demo/part", settings)
    assert package.read("5.bin") == THEIRS["theirs/5.bin"]
    assert package.read("20.bin") == THEIRS["theirs/20.bin"]
    store = settings.open_bucket(f"{shared.url}/demo")
    places = packs(shared, "theirs")
    whole = store.get(places[0][0], ByteRange(0, 1 << 20))
    for number, body in ((number, THEIRS[f"theirs/{number}.bin"]) for number in range(40)):
        assert (body in whole) == (number in (5, 20))


SECRETS = (
    ".penstock/leases/push/00",
    ".penstock/garbage/00",
    ".penstock/datasets/theirs/heads/main/ffffffffffffffff",
    ".penstock/datasets/ours/../theirs/heads/main/ffffffffffffffff",
    ".penstock/datasets/ours",
    ".penstock/data/00/" + "0" * 64,
    ".penstock/nodes/00/" + "0" * 64,
    "somewhere/else",
)


def test_a_key_of_one_dataset_gets_nothing_but_its_records_and_its_bytes(shared):
    with Settings.load().open_bucket(f"{shared.url}/demo") as store:
        for key in SECRETS:
            with pytest.raises((AccessError, UsageError)):
                store.get(key, ByteRange(0, 100))
        for key in SECRETS:
            path = f"/store/demo/o/{key}?offset=0&length=9"
            assert shared.ask("GET", path, key=os.environ["PENSTOCK_KEY"]).status in (400, 403), key
        for prefix in ("", ".penstock/", ".penstock/data/", ".penstock/datasets/", ".penstock/datasets/our"):
            with pytest.raises(AccessError):
                list(store.list(prefix))


def test_a_key_that_only_writes_reads_nothing(shared, monkeypatch):
    ours = shared.context.buckets["demo"].hash_of("ours")
    monkeypatch.setenv("PENSTOCK_KEY", shared.context.keys.create("", [WRITE], ours).secret)
    with pytest.raises(AccessError, match="does not allow READ"):
        penstock.open(f"{shared.url}/demo/ours")


def test_nothing_is_written_past_the_server(shared):
    with pytest.raises(AccessError, match="only read"):
        penstock.Dataset(f"{shared.url}/demo/ours").create()
    with pytest.raises(AccessError, match="only read"):
        Settings.load().open_bucket(f"{shared.url}/demo").put(".penstock/x", b"")


def test_a_key_in_a_file_is_as_good(shared, tmp_path, monkeypatch):
    (tmp_path / "key").write_text(os.environ["PENSTOCK_KEY"] + "\n")
    monkeypatch.delenv("PENSTOCK_KEY")
    with pytest.raises(AccessError, match="signed in"):
        penstock.open(f"{shared.url}/demo/ours")
    monkeypatch.setenv("PENSTOCK_KEY_FILE", str(tmp_path / "key"))
    assert penstock.open(f"{shared.url}/demo/ours").read("ours/1.bin") == OURS["ours/1.bin"]


def test_a_key_is_never_sent_in_the_clear_to_another_machine():
    with pytest.raises(UsageError, match="no TLS"):
        Settings.load().open_bucket("http://data.example.org/demo")


def test_what_was_read_on_another_way_does_not_hide_what_a_key_opens(shared, tmp_path):
    """Nodes come out of the reader's own cache, so that the server was never asked for them."""
    site = shared.context.buckets["demo"]
    near = f"file://{site.address[7:]}/ours"
    assert sum(1 for _ in penstock.Package(near)) == 42
    assert penstock.open(f"{shared.url}/demo/ours").read("ours/9.bin") == OURS["ours/9.bin"]


def test_what_no_span_covers_is_zeros():
    assert covered(b"abcdefgh", 10, [(8, 12), (14, 15), (17, 30)]) == b"ab\0\0e\0\0h"
    assert covered(b"abc", 0, [(5, 9)]) == b"\0\0\0"


def test_an_answer_that_was_bent_on_the_way_is_no_file(shared, monkeypatch):
    found = penstock.open(f"{shared.url}/demo/ours")
    store = shared.context.buckets["demo"].session.store
    true_get = store.get

    def bent(key, *arguments, **named):
        body = true_get(key, *arguments, **named)
        return bytes(len(body)) if key.startswith(object_keys.DATA) else body

    monkeypatch.setattr(store, "get", bent)
    with pytest.raises(PenstockError) as refused:
        found.read("ours/2.bin")
    assert type(refused.value).__name__ == "IntegrityError"


@pytest.mark.fuse
def test_a_third_party_mounts_a_version_with_a_key(shared, tmp_path):
    place = tmp_path / "mounted"
    place.mkdir()
    penstock.mount(f"{shared.url}/demo/ours", place)
    try:
        for path in ("ours/0.bin", "ours/39.bin"):
            assert (place / path).read_bytes() == OURS[path]
        assert (place / "large.bin").read_bytes() == random.Random(7).randbytes(5 << 20)
    finally:
        penstock.unmount(place)
