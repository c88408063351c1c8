"""What every store promises: one suite, run on each of them.

A test takes `store`, which is empty and of each kind in turn; what only one kind does is tested elsewhere.
"""

from __future__ import annotations

import errno
import hashlib
import itertools
import os
import pickle
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from servers import emulators

from penstock.errors import ConflictError, NotFoundError, PenstockError, UsageError
from penstock.store import ByteRange, ObjectInfo, Store, StoreOptions, naming, open_store
from penstock.store.download import download_object
from penstock.store.s3.s3_parts import PART_SIZE

BODY = bytes(range(256)) * 40
pytestmark = pytest.mark.filterwarnings("ignore:Sending a large body:ResourceWarning")  # what gcsfs does by itself


KINDS = [
    "directory",
    "directory without hard links",
    "directory with neither links nor such renames",
    pytest.param("bucket", marks=pytest.mark.s3),
    pytest.param("prefix", marks=pytest.mark.s3),
    "ssh",
    *(["azure"] if emulators.AZURITE else []),
    *(["gcs"] if emulators.FAKE_GCS else []),
]
container_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def azure(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with emulators.azurite(tmp_path_factory.mktemp("azurite")) as address:
        yield address


@pytest.fixture(scope="session")
def gcs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with emulators.fake_gcs(tmp_path_factory.mktemp("gcs")) as address:
        yield address


@pytest.fixture(params=KINDS)
def store(request: pytest.FixtureRequest) -> Iterator[Store]:
    if request.param == "ssh":
        server = request.getfixturevalue("ssh_server")
        server.let_in(Path.home())
        opened = open_store(server.address(request.getfixturevalue("tmp_path") / "objects"))
    elif request.param == "azure":
        opened = open_azure(request)
    elif request.param == "gcs":
        opened = open_gcs(request)
    elif request.param.startswith("directory"):
        if request.param != "directory":
            refuse_links(request.getfixturevalue("monkeypatch"), renames="without" in request.param)
        opened = open_store(request.getfixturevalue("tmp_path").joinpath("objects").as_uri())
    else:
        bucket = request.getfixturevalue("bucket")
        request.getfixturevalue("aws_environment")
        opened = open_store(f"s3://{bucket}" + ("/deep/down" if request.param == "prefix" else ""))
    with opened:
        yield opened


def open_azure(request: pytest.FixtureRequest) -> Store:
    environment = request.getfixturevalue("monkeypatch")
    environment.setenv("AZURE_STORAGE_ACCOUNT_NAME", "devstoreaccount1")
    environment.setenv("AZURE_STORAGE_ACCOUNT_KEY", emulators.AZURITE_KEY)
    address, name = request.getfixturevalue("azure"), f"container-{next(container_numbers)}"
    emulators.make_azure_container(address, name)
    return open_store(f"az://{name}/deep/down", StoreOptions(endpoint_url=address))


def open_gcs(request: pytest.FixtureRequest) -> Store:
    address, name = request.getfixturevalue("gcs"), f"bucket-{next(container_numbers)}"
    emulators.make_gcs_bucket(address, name)
    return open_store(f"gs://{name}/deep/down", StoreOptions(endpoint_url=address, anonymous=True))


def refuse_links(monkeypatch: pytest.MonkeyPatch, *, renames: bool) -> None:
    """Be a file system such as exFAT; with `renames` that of a newer kernel, which has RENAME_NOREPLACE."""

    def refused(*arguments: object, **options: object) -> None:
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(os, "link", refused)
    if not renames:
        monkeypatch.setattr(naming, "_by_rename", refused)


def keys(listing: Iterator[ObjectInfo]) -> list[str]:
    return [info.key for info in listing]


def put_all(store: Store, names: list[str]) -> None:
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda name: store.put(name, name.encode()), names))


# get and put


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_what_is_put_is_got(store: Store, kind: Callable[[bytes], bytes]) -> None:
    store.put("a/b", kind(BODY))
    assert store.get("a/b") == BODY
    assert type(store.get("a/b")) is bytes


def test_put_replaces(store: Store) -> None:
    store.put("key", BODY)
    store.put("key", b"short")
    assert store.get("key") == b"short"


@pytest.mark.parametrize("size", [30, 300_000])
def test_a_body_that_looks_like_the_end_of_one_is_whole(store: Store, size: int) -> None:
    body = b"a\r\n--==0==--\r\nb".ljust(size, b".")
    store.put("key", body)
    assert store.create("new", body)
    assert store.get("key") == store.get("new") == body


@pytest.mark.parametrize("size", [0, 1, (1 << 18) - 1, 1 << 18, (5 << 20) + 3])
def test_every_size_survives(store: Store, size: int) -> None:
    body = (BODY * (size // len(BODY) + 1))[:size]
    store.put("key", memoryview(body))
    assert store.get("key") == body
    info = store.head("key")
    assert info is not None
    assert info.size == size


@pytest.mark.parametrize(
    ("offset", "length"),
    [
        (0, 1),
        (0, len(BODY)),
        (5, 1000),
        (len(BODY) - 1, 1),
        (len(BODY) - 1, 500),
        (len(BODY), 1),
        (len(BODY) + 7, 9),
        (3, 0),
    ],
)
def test_a_range_is_that_slice(store: Store, offset: int, length: int) -> None:
    store.put("key", BODY)
    assert store.get("key", ByteRange(offset, length)) == BODY[offset : offset + length]
    memory = bytearray(b"?" * (length + 1))
    count = store.get_into("key", offset, memoryview(memory)[:length])
    assert memory == BODY[offset : offset + length] + b"?" * (length + 1 - count)


def test_a_range_of_nothing(store: Store) -> None:
    store.put("empty", b"")
    assert store.get("empty", ByteRange(0, 10)) == b""
    assert store.get("empty") == b""


def test_a_range_is_not_negative() -> None:
    with pytest.raises(ValueError, match="negative"):
        ByteRange(-1, 5)


@pytest.mark.parametrize("byte_range", [None, ByteRange(0, 5), ByteRange(0, 0)])
def test_getting_what_is_not_there(store: Store, byte_range: ByteRange | None) -> None:
    store.put("a/b", BODY)
    for key in ("nothing", "a", "a/b/c", "a/bc"):
        with pytest.raises(NotFoundError) as caught:
            store.get(key, byte_range)
        with pytest.raises(NotFoundError):
            store.get_into(key, 0, memoryview(bytearray(5)))
        assert store.url in caught.value.what or key in caught.value.what


@pytest.mark.parametrize("byte_range", [None, ByteRange(1, 2), ByteRange(10**6, 2)])
def test_an_etag_pins_the_content(store: Store, byte_range: ByteRange | None) -> None:
    store.put("key", BODY)
    info = store.head("key")
    assert info is not None
    assert info.etag
    assert '"' not in info.etag
    expected = BODY if byte_range is None else BODY[byte_range.offset :][: byte_range.length]
    assert store.get("key", byte_range, etag=info.etag) == expected
    store.put("key", BODY[::-1] + (b"!" if info.is_weak else b""))
    with pytest.raises(ConflictError):
        store.get("key", byte_range, etag=info.etag)


@pytest.mark.parametrize(
    "key",
    [
        "plain",
        "with space",
        "per%20cent",
        "plus+and&and=and?and#",
        "ümläut/日本/🙂",
        "'quote'\"double\"",
        "back\\slash",
        "colon:semi;comma,",
        "~tilde/*star*/[x]",
        "trailing.",
        "..dots/...",
        "-dash",
        "n" * 255,
        "/".join(["d" * 49] * 16),
    ],
)
def test_odd_keys(store: Store, key: str) -> None:
    if store.url.startswith("az:") and "\\" in key:
        with pytest.raises(UsageError, match="slash"):
            store.put(key, b"")
        return
    store.put(key, key.encode())
    assert store.get(key) == key.encode()
    assert keys(store.list()) == [key]
    info = store.head(key)
    assert info is not None
    assert info.key == key
    store.copy(store, key, "copy")
    assert store.get("copy") == key.encode()
    store.delete([key, "copy"])
    assert keys(store.list()) == []


@pytest.mark.parametrize(
    "key",
    [
        "",
        "/",
        "/a",
        "a/",
        "a//b",
        ".",
        "..",
        "a/../b",
        "../a",
        "a/.",
        "nul\0",
        "line\n",
        "\uffff",
        "\x7f",
        "\ud800",
        "k" * 1025,
    ],
)
def test_what_cannot_be_a_key(store: Store, key: str) -> None:
    for write in (lambda: store.put(key, b""), lambda: store.create(key, b"")):
        with pytest.raises(UsageError):
            write()
    store.put("good", b"")
    with pytest.raises(UsageError):
        store.copy(store, "good", key)


# create


def test_create_writes_once(store: Store) -> None:
    assert store.create("refs/1", b"mine")
    assert not store.create("refs/1", b"theirs")
    assert store.get("refs/1") == b"mine"


def test_create_meets_its_own_success(store: Store) -> None:
    assert store.create("refs/1", b"mine")
    assert store.create("refs/1", b"mine")


@pytest.mark.parametrize("other", [b"", b"mine and more", b"min", b"nime"])
def test_create_tells_bodies_apart(store: Store, other: bytes) -> None:
    store.put("refs/1", other)
    assert not store.create("refs/1", b"mine")
    assert store.get("refs/1") == other


def test_create_of_nothing(store: Store) -> None:
    assert store.create("flag", b"")
    assert store.create("flag", b"")
    assert not store.create("flag", b"x")


def test_create_after_delete(store: Store) -> None:
    assert store.create("key", b"one")
    store.delete(["key"])
    assert store.create("key", b"two")
    assert store.get("key") == b"two"


def test_one_creator_wins(store: Store) -> None:
    rounds, writers = 10, 8
    start = threading.Barrier(writers)

    def race(writer: int) -> list[bool]:
        won = []
        for number in range(rounds):
            start.wait(30)
            won.append(store.create(f"race/{number}", b"writer %d" % writer))
        return won

    with ThreadPoolExecutor(writers) as pool:
        outcomes = list(pool.map(race, range(writers)))
    for number in range(rounds):
        winners = [writer for writer in range(writers) if outcomes[writer][number]]
        assert len(winners) == 1
        assert store.get(f"race/{number}") == b"writer %d" % winners[0]


# head


def test_head(store: Store) -> None:
    assert store.head("key") is None
    store.put("key", BODY)
    info = store.head("key")
    assert info is not None
    assert (info.key, info.size) == ("key", len(BODY))
    assert info.modified > 1_600_000_000
    assert store.head("ke") is None
    assert store.head("key/below") is None


def test_a_folder_is_no_object(store: Store) -> None:
    store.put("a/b", BODY)
    assert store.head("a") is None


# list


def test_an_empty_store_lists_nothing(store: Store) -> None:
    assert keys(store.list()) == []
    assert keys(store.list("a/")) == []
    assert list(store.list_folders()) == []
    assert list(store.list_folders("a/")) == []


NAMES = ["a-b", "a/b", "a/b-c", "a/b/c", "a.b", "a0", "B", "Z/z", "é", "日本/x", "\ufffd", "😀", "a/é/x", "a/😀", "z"]
# The local store cannot hold an object a/b and one below it, so that neither is among them.
NAMES.remove("a/b")


def test_list_is_in_byte_order_of_whole_keys(store: Store) -> None:
    put_all(store, NAMES)
    assert keys(store.list()) == sorted(NAMES, key=str.encode)


def test_list_starts_after(store: Store) -> None:
    put_all(store, NAMES)
    ordered = sorted(NAMES, key=str.encode)
    for after in [*ordered, "a", "a/", "a/b/", "a/b/b", "a/b/d", "a/\ufffd", "0", "~", "a-", "Z/"]:
        expected = [name for name in ordered if name.encode() > after.encode()]
        assert keys(store.list(start_after=after)) == expected, after
        below = [name for name in expected if name.startswith("a/")]
        assert keys(store.list("a/", start_after=after)) == below, after


def test_list_takes_any_prefix(store: Store) -> None:
    put_all(store, NAMES)
    ordered = sorted(NAMES, key=str.encode)
    for prefix in ["a", "a/", "a/b", "a/b/", "a/b/c", "a/b/c/", "a.", "Z", "日", "nothing", "a/.", "日本/"]:
        assert keys(store.list(prefix)) == [name for name in ordered if name.startswith(prefix)], prefix


def test_list_stops_at_the_limit(store: Store) -> None:
    put_all(store, NAMES)
    ordered = sorted(NAMES, key=str.encode)
    for limit in (0, 1, 3, len(NAMES), len(NAMES) + 5):
        assert keys(store.list(limit=limit)) == ordered[:limit]


def test_list_says_what_head_says(store: Store) -> None:
    store.put("some/key", BODY)
    [listed] = store.list()
    headed = store.head("some/key")
    assert headed is not None
    assert (listed.key, listed.size, listed.etag) == (headed.key, headed.size, headed.etag)
    assert int(listed.modified) == int(headed.modified)


def test_list_over_several_pages(store: Store) -> None:
    count = 305 if store.url.startswith("ssh:") else 1105  # its pages have 100 names, and each name takes 6 requests
    names = [f"many/{number:05}" for number in range(count)]
    put_all(store, names)
    assert keys(store.list("many/")) == names
    assert keys(store.list("many/", start_after="many/00048", limit=count - 100)) == names[49 : count - 51]
    assert keys(itertools.islice(store.list(), 3)) == names[:3]
    store.delete(names)
    assert keys(store.list()) == []


@pytest.mark.parametrize("prefix", ["/", "a//", "../", "./a", "a/../b", "nul\0"])
def test_what_cannot_be_a_prefix(store: Store, prefix: str) -> None:
    with pytest.raises(UsageError):
        list(store.list(prefix))
    with pytest.raises(UsageError):
        list(store.list_folders(prefix))


# list_folders


def test_list_folders(store: Store) -> None:
    put_all(store, ["top", "a/x/1", "a/x/2", "a/y-z/1", "a/y/1/2", "a/é/1", "a/file", "a-b/1", "b/c/d/e"])
    assert list(store.list_folders()) == ["a", "a-b", "b"]
    assert list(store.list_folders("a/")) == ["x", "y", "y-z", "é"]
    assert list(store.list_folders("a/x/")) == []
    assert list(store.list_folders("b/c/")) == ["d"]
    assert list(store.list_folders("nothing/")) == []


def test_list_level(store: Store) -> None:
    put_all(store, ["top", "a/x/1", "a/y-z/1", "a/y/1/2", "a/file", "a/file-2", "a-b/1", "aa"])
    level = store.list_level()
    assert level.folders == ["a", "a-b"]
    assert [found.key for found in level.objects] == ["aa", "top"]
    level = store.list_level("a/")
    assert level.folders == ["x", "y", "y-z"]
    assert [found.key for found in level.objects] == ["a/file", "a/file-2"]
    assert [(found.size, found.etag) for found in level.objects] == [
        (head.size, head.etag) for found in level.objects if (head := store.head(found.key)) is not None
    ]
    assert store.list_level("nothing/") == ([], [])


def test_a_folder_lives_by_what_it_holds(store: Store) -> None:
    store.put("a/b/c", b"")
    store.put("a/d", b"")
    store.delete(["a/b/c"])
    assert list(store.list_folders("a/")) == []
    store.delete(["a/d"])
    assert list(store.list_folders()) == []
    store.put("a", b"now an object")
    assert store.get("a") == b"now an object"


def test_list_folders_wants_a_folder(store: Store) -> None:
    with pytest.raises(UsageError, match="slash"):
        list(store.list_folders("a"))


# delete


def test_delete(store: Store) -> None:
    put_all(store, ["a/1", "a/2", "b"])
    store.delete(iter(["a/1", "b", "never/was"]))
    assert keys(store.list()) == ["a/2"]
    store.delete(["a/1"])
    store.delete([])
    with pytest.raises(NotFoundError):
        store.get("a/1")


def test_delete_of_a_folder_deletes_nothing(store: Store) -> None:
    store.put("a/b", b"")
    store.delete(["a", "a/b/c"])
    assert keys(store.list()) == ["a/b"]


# copy


def test_copy(store: Store) -> None:
    store.put("from", BODY)
    store.put("to/there", b"old")
    store.copy(store, "from", "to/there")
    assert store.get("to/there") == BODY
    assert store.get("from") == BODY


def test_copy_of_nothing(store: Store) -> None:
    store.put("a/b", BODY)
    for key in ("nothing", "a"):
        with pytest.raises(NotFoundError):
            store.copy(store, key, "to")
    assert store.head("to") is None


def test_copy_between_kinds_is_refused(store: Store, tmp_path_factory: pytest.TempPathFactory) -> None:
    if store.url.startswith("s3:"):
        other = open_store(tmp_path_factory.mktemp("other").as_uri())
    else:
        other = open_store("s3://some-bucket", StoreOptions(endpoint_url="http://127.0.0.1:1"))
    with other, pytest.raises(UsageError, match="kind"):
        store.copy(other, "key", "key")


# as a value


def test_pickled(store: Store) -> None:
    store.put("key", BODY)
    with pickle.loads(pickle.dumps(store)) as again:
        assert again.url == store.url
        assert again.get("key") == BODY


def test_many_threads(store: Store) -> None:
    def work(number: int) -> None:
        for step in range(5):
            key = f"thread/{number % 4}/{number}"
            body = b"%d %d" % (number, step)
            store.put(key, body)
            assert store.get(key) == body
            store.delete([key])

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(work, range(32)))
    assert keys(store.list()) == []


def test_errors_are_of_the_one_tree(store: Store) -> None:
    with pytest.raises(PenstockError) as caught:
        store.get("nothing")
    assert caught.value.what
    assert "\n" not in str(caught.value)


# files, and objects of any size


@pytest.mark.parametrize("size", [0, 1, PART_SIZE, 2 * PART_SIZE + 7])
def test_a_file_that_is_put_is_what_is_downloaded(store: Store, tmp_path: Path, size: int) -> None:
    content = (os.urandom(1 << 16) * (size // (1 << 16) + 1))[:size]
    source = tmp_path / "source"
    source.write_bytes(content)
    with source.open("rb") as given, ThreadPoolExecutor(4) as pool, (tmp_path / "copy").open("w+b") as copy:
        store.put_file("folder/key", given.fileno(), size, pool)
        told: list[int] = []
        info = download_object(store, "folder/key", copy.fileno(), pool=pool, advance=told.append)
    assert (tmp_path / "copy").read_bytes() == content
    assert info.size == sum(told) == size
    assert store.get("folder/key", limit=1 << 30) == content


def test_a_file_that_has_become_shorter_is_not_put(store: Store, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(BODY)
    with source.open("rb") as given, pytest.raises(ConflictError):
        store.put_file("key", given.fileno(), len(BODY) + 1)
    assert store.head("key") is None


def test_an_object_begins_with_its_first_bytes_and_what_is_said_of_it(store: Store) -> None:
    store.put("key", BODY)
    begun, looked = store.begin("key", 100), store.head("key")
    assert looked is not None
    assert begun.data == BODY[:100]
    assert (begun.info.size, begun.info.etag) == (len(BODY), looked.etag)
    assert begun.md5 in (None, hashlib.md5(BODY).digest())
    with pytest.raises(NotFoundError):
        store.begin("missing", 100)
