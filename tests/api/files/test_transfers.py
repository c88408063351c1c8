"""Files fetched into directories, and sent: from and to local paths, S3, versions and fsspec, and what can go wrong."""

from __future__ import annotations

import logging
import os
import pickle
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import boto3
import pytest
from servers.faultproxy import FaultProxy
from servers.rgw import RadosGateway

import penstock
from penstock import FileDataset
from penstock.errors import AccessError, ConflictError, IntegrityError, NotFoundError, PenstockError, UsageError

PLACES = ["local", pytest.param("s3", marks=pytest.mark.s3)]


@pytest.fixture(params=[*PLACES, "memory"])
def place(request: pytest.FixtureRequest, here: Path) -> Iterator[str]:
    """Return a place for files, in each kind of store."""
    yield opened_place(request)
    if request.param == "memory":
        pytest.importorskip("fsspec").filesystem("memory").rm("/out", recursive=True)


@pytest.fixture(params=PLACES)
def atomic_place(request: pytest.FixtureRequest, here: Path) -> str:
    """Return one in each kind of store that creates what is absent in one step: fsspec's memory looks first."""
    return opened_place(request)


def opened_place(request: pytest.FixtureRequest) -> str:
    if request.param == "local":
        return "./out"
    if request.param == "memory":
        pytest.importorskip("fsspec")
        return "memory://out"
    request.getfixturevalue("aws_environment")
    return f"s3://{request.getfixturevalue('bucket')}/out"


def tree(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_what_is_sent_is_what_is_fetched(place: str, no_leftovers: Path) -> None:
    files = FileDataset()
    sent = files.upload_files({"a/0.txt": Path("in/0.txt"), "1.txt": "./in/1.txt"}, place, id=7)
    assert {name: str(url).removeprefix("./") for name, url in sent.items()} == {
        name: f"{place.removeprefix('./')}/7/{name}" for name in ("a/0.txt", "1.txt")
    }
    with files.downloader({"x/y.txt": sent["a/0.txt"], "z": sent["1.txt"]}).into_temp_dir() as folder:
        assert tree(folder) == {"x/y.txt": b"file 0", "z": b"file 1"}
        assert os.stat(folder).st_mode & 0o777 == 0o700
    assert not folder.exists()
    assert list(no_leftovers.iterdir()) == []
    assert files.downloader({"x/y.txt": sent["a/0.txt"]}).into("here/there") == {
        "x/y.txt": Path("here/there/x/y.txt").absolute()
    }
    assert tree(Path("here")) == {"there/x/y.txt": b"file 0"}
    files.close()


def test_an_id_belongs_to_one_upload_and_a_new_one_is_nobodys(place: str) -> None:
    files = FileDataset()
    names = {"0.txt": Path("in/0.txt")}
    first, second = (files.upload_files(names, place)["0.txt"] for _ in range(2))
    assert first != second
    files.upload_files(names, place, id="mine")
    with pytest.raises(ConflictError, match="'mine' is in use"):
        files.upload_files({"0.txt": Path("in/1.txt")}, place, id="mine")
    with files.downloader({"0.txt": f"{place}/mine/0.txt"}).into_temp_dir() as folder:
        assert tree(folder) == {"0.txt": b"file 0"}
    files.close()


def test_of_many_uploads_with_one_id_one_wins(atomic_place: str) -> None:
    def send(number: int) -> int | None:
        try:
            files.upload_files({"f": Path(f"in/{number}.txt")}, atomic_place, id="one")
        except ConflictError:
            return None
        return number

    files = FileDataset()
    with ThreadPoolExecutor(5) as pool:
        won = [number for number in pool.map(send, range(5)) if number is not None]
    assert len(won) == 1
    with files.downloader({"f": f"{atomic_place}/one/f"}).into_temp_dir() as folder:
        assert tree(folder) == {"f": f"file {won[0]}".encode()}
    files.close()


def test_files_of_others_at_an_id_are_not_overwritten(place: str) -> None:
    files = FileDataset()
    sent = files.upload_files({"f": Path("in/0.txt")}, f"{place}/taken", id="x")["f"]
    with pytest.raises(ConflictError, match="nothing is noted"):
        files.upload_files({"f": Path("in/1.txt")}, place, id="taken")
    with files.downloader({"f": sent}).into_temp_dir() as folder:
        assert tree(folder) == {"f": b"file 0"}
    files.close()


def test_an_upload_that_fails_leaves_nothing_and_its_id(place: str) -> None:
    files = FileDataset()
    for names, error in (
        ({"a": Path("in/0.txt"), "b": Path("missing")}, NotFoundError),
        ({"a": Path("in")}, UsageError),
        ({"a": 7}, UsageError),
        ([Path("in/0.txt")], UsageError),
        ({"../a": Path("in/0.txt")}, UsageError),
    ):
        with pytest.raises(error):
            files.upload_files(names, place, id="x")  # type: ignore[dict-item,arg-type]
    with pytest.raises(UsageError, match="slash"):
        files.upload_files({"a": Path("in/0.txt")}, place, id="a/b")
    files.upload_files({"a": Path("in/0.txt")}, place, id="x")
    files.close()


def test_a_file_that_is_still_being_written_is_not_sent(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from penstock.store.local import LocalStore

    put = LocalStore.put_file

    def put_while_written(self: LocalStore, key: str, descriptor: int, *rest: object) -> None:
        put(self, key, descriptor, *rest)  # type: ignore[arg-type]
        with open("in/0.txt", "a") as stream:
            stream.write("more")

    monkeypatch.setattr(LocalStore, "put_file", put_while_written)
    with pytest.raises(ConflictError, match="still being written"):
        FileDataset().upload_files({"a": Path("in/0.txt")}, "./out", id="x")
    assert [path for path in Path("out").rglob("*") if path.is_file()] == []


def test_what_cannot_be_fetched_is_named_and_nothing_is_left(here: Path, no_leftovers: Path) -> None:
    files = FileDataset()
    good = {"a": Path("in/0.txt")}
    for bad, error, said in (
        (Path("missing"), NotFoundError, "b: no file"),
        (Path("in"), UsageError, "is a directory"),
        ("demo/none:main/x", NotFoundError, "b: "),
    ):
        with pytest.raises(error, match=said), files.downloader({**good, "b": bad}).into_temp_dir():
            pass
        with pytest.raises(error, match=said):
            files.downloader({**good, "b": bad}).into("target")
    with pytest.raises(UsageError, match="what files are called"):
        files.downloader([Path("in/0.txt")])  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="no directory"):
        files.downloader(good).into(None)  # type: ignore[call-overload]
    assert list(Path("target").iterdir()) == []
    assert list(no_leftovers.iterdir()) == []


def test_no_link_in_the_directory_is_followed(here: Path) -> None:
    outside = here.parent / "outside"
    outside.mkdir()
    Path("target").mkdir()
    Path("target/link").symlink_to(outside)
    Path("target/file").symlink_to(outside / "file")
    files = FileDataset()
    with pytest.raises(ConflictError):
        files.downloader({"link/a": Path("in/0.txt")}).into("target")
    files.downloader({"file": Path("in/0.txt")}).into("target")
    assert list(outside.iterdir()) == []
    assert not Path("target/file").is_symlink()


def test_files_come_from_versions_and_from_what_fsspec_knows(here: Path) -> None:
    fsspec = pytest.importorskip("fsspec")
    fsspec.filesystem("memory").pipe("/deep/m.txt", b"memory")
    penstock.Dataset("demo/texts").push("in", tag="v1")
    given = {"v": "demo/texts:v1/3.txt", "m": "memory://deep/m.txt", "w": "penstock://demo/texts/4.txt"}
    with FileDataset().downloader(given).into_temp_dir() as folder:
        assert tree(folder) == {"v": b"file 3", "m": b"memory", "w": b"file 4"}
    for bad, error in (("memory://none", NotFoundError), ("gs://bucket/key", UsageError), ("odd://x", AccessError)):
        with pytest.raises(error), FileDataset().downloader({"x": bad}).into_temp_dir():
            pass


def test_a_file_system_that_overwrites_is_not_written_to(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    memory = pytest.importorskip("fsspec.implementations.memory").MemoryFileSystem
    monkeypatch.setattr("penstock.api.files.fsspec_files._refusing", set())
    pipe = memory.pipe_file
    monkeypatch.setattr(memory, "pipe_file", lambda self, path, body, **_: pipe(self, path, body))
    with pytest.raises(UsageError, match="cannot be sent to memory://over"):
        FileDataset().upload_files({"a": Path("in/0.txt")}, "memory://over", id="x")
    assert memory().find("/over") == []


def test_a_dry_run_lists_transfers_and_makes_none(here: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "penstock.files")
    files = FileDataset()
    (found,) = files.downloader({"a": Path("in/0.txt")}).into("target", dry_run=True)
    assert (found.direction, found.name, found.size) == ("download", "a", 6)
    (sent,) = files.upload_files({"a": Path("in/0.txt")}, "./out", id=1, dry_run=True)
    assert (sent.direction, sent.target) == ("upload", "./out/1/a")
    assert not Path("target").exists()
    assert not Path("out").exists()
    files.upload_files({"a": Path("in/0.txt")}, "./out", id=1)
    told = [record.getMessage().split(" ")[0] for record in caplog.records]
    assert told == ["would", "would", "uploaded"]


def test_it_can_be_pickled(here: Path) -> None:
    files = pickle.loads(pickle.dumps(FileDataset()))
    assert files.upload_files({"a": Path("in/0.txt")}, "./out", id=1) == {"a": Path("out/1/a")}


def test_what_is_no_credentials_is_refused() -> None:
    with pytest.raises(UsageError, match="no credentials"):
        FileDataset(credentials="secret")


@pytest.mark.s3
def test_credentials_are_frozen_ones_or_those_of_a_session(gateway: RadosGateway, bucket: str, here: Path) -> None:
    session = boto3.Session(gateway.access_key, gateway.secret_key, region_name=gateway.region)
    credentials = session.get_credentials()
    assert credentials is not None
    for given in (session, credentials, credentials.get_frozen_credentials()):
        files = FileDataset(given, endpoint_url=gateway.endpoint)
        for each in (files, pickle.loads(pickle.dumps(files))):
            url = each.upload_files({"a": Path("in/0.txt")}, f"s3://{bucket}/x")["a"]
            with each.downloader({"a": url}).into_temp_dir() as folder:
                assert tree(folder) == {"a": b"file 0"}
            each.close()
    wrong = boto3.Session(gateway.access_key, "wrong").get_credentials()
    with (
        pytest.raises(AccessError),
        FileDataset(wrong, endpoint_url=gateway.endpoint).downloader({"a": url}).into_temp_dir(),
    ):
        pass


@pytest.mark.s3
def test_a_profile_and_a_region_are_used(
    gateway: RadosGateway, bucket: str, fault_proxy: FaultProxy, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = here / "credentials"
    keys.write_text(
        f"[lab]\naws_access_key_id = {gateway.access_key}\naws_secret_access_key = {gateway.secret_key}\n"
        "[other]\naws_access_key_id = nobody\naws_secret_access_key = nothing\n"
    )
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(keys))
    files = FileDataset(profile="lab", region="eu-central-7", endpoint_url=fault_proxy.endpoint)
    for each in (files, pickle.loads(pickle.dumps(files))):
        url = each.upload_files({"a": Path("in/0.txt")}, f"s3://{bucket}/x")["a"]
        with each.downloader({"a": url}).into_temp_dir() as folder:
            assert tree(folder) == {"a": b"file 0"}
        each.close()
    signed = [seen.headers["authorization"] for seen in fault_proxy.requests]
    assert all(f"Credential={gateway.access_key}/" in each and "/eu-central-7/s3/" in each for each in signed)
    for profile, said in (("other", "key"), ("none", "profile")):
        with (
            pytest.raises(PenstockError, match=said),
            FileDataset(profile=profile, endpoint_url=gateway.endpoint).downloader({"a": url}).into_temp_dir(),
        ):
            pass


@pytest.mark.s3
def test_a_version_of_an_object_is_fetched(
    gateway: RadosGateway, bucket: str, aws_environment: dict[str, str], here: Path
) -> None:
    client = boto3.client("s3")
    client.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    first = client.put_object(Bucket=bucket, Key="k", Body=b"first")["VersionId"]
    client.put_object(Bucket=bucket, Key="k", Body=b"second")
    client.close()
    given = {"old": f"s3://{bucket}/k?versionId={first}", "new": f"s3://{bucket}/k"}
    files = FileDataset()
    with files.downloader(given).into_temp_dir() as folder:
        assert tree(folder) == {"old": b"first", "new": b"second"}
    for gone in (f"s3://{bucket}/none", f"s3://{bucket}-none/k"):
        with pytest.raises(NotFoundError, match="x: "), files.downloader({"x": gone}).into_temp_dir():
            pass
    files.close()


@pytest.mark.s3
def test_bytes_that_are_not_what_the_etag_says_are_refused(
    gateway: RadosGateway, bucket: str, aws_environment: dict[str, str], here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import penstock.store.download as download

    url = FileDataset().upload_files({"a": Path("in/0.txt")}, f"s3://{bucket}/x")["a"]
    write = download._write
    monkeypatch.setattr(
        download, "_write", lambda descriptor, data, offset: write(descriptor, bytes([data[0] ^ 1]) + data[1:], offset)
    )
    monkeypatch.setattr(
        download,
        "_md5",
        lambda descriptor, beginning, size: download.hashlib.md5(os.pread(descriptor, size, 0)).digest(),
    )
    with pytest.raises(IntegrityError, match="damaged"), FileDataset().downloader({"a": url}).into_temp_dir():
        pass
