"""A catalogue over HTTP: who signs, who writes, who is refused, and what happens to what was cut off."""

from __future__ import annotations

import hashlib
import http.server
import os
import secrets
import threading
import time
from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from servers.catalogue import running
from servers.rgw import RadosGateway
from trees.media import image, video

import penstock
from penstock.catalogue.client import Catalogue, Dataset, UserClient
from penstock.catalogue.client.server_connection import ServerConnection
from penstock.catalogue.orm.dataset import DatasetScope, DatasetUserRole, StorageLocation
from penstock.catalogue.state.signed_request import SshSigner
from penstock.errors import (
    AccessError,
    ConflictError,
    IntegrityError,
    NotFoundError,
    PenstockError,
    StoreUnreachableError,
    UsageError,
)
from penstock.repo.bucket import object_keys
from penstock.repo.bucket.leases import LeaseKind, held_version, leases
from penstock.repo.settings.settings import Settings

READ, WRITE = DatasetScope.READ, DatasetScope.WRITE


def written(key, password=None):
    """Return a private key as its file has it, and the public one as it is registered."""
    how = BestAvailableEncryption(password.encode()) if password else NoEncryption()
    private = key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, how).decode()
    return private, key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()


@pytest.fixture
def closed(tmp_path, demo):
    """Run a server that trusts nobody, with two datasets."""
    with running(tmp_path / "state", demo, is_trusting=False) as site:
        for title in ("Films", "Other"):
            site.context.buckets["demo"].create(title)
        yield site


@pytest.fixture
def admin(closed):
    return UserClient.create_with_key(
        closed.context.keys.create("admin", list(DatasetScope), is_admin=True).secret, url=closed.url
    )


def hash_of(site, name):
    return site.context.buckets["demo"].hash_of(name)


def client_of(site, name, *scopes):
    return Dataset(f"{site.url}/demo/{name}", key=site.context.keys.create("", scopes, hash_of(site, name)).secret)


@pytest.mark.parametrize("kind", ["ed25519", "rsa", "with a password"])
def test_requests_that_a_private_key_signs_are_believed(closed, admin, tmp_path, kind):
    key = rsa.generate_private_key(65537, 2048) if kind == "rsa" else ed25519.Ed25519PrivateKey.generate()
    password = None
    if kind == "with a password":
        pytest.importorskip("bcrypt")
        password = "a password"
    private, public = written(key, password)
    (tmp_path / "id").write_text(private)
    with UserClient.create_with_ssh_private_key(private, password, url=closed.url) as client:
        with pytest.raises(AccessError, match="signature is not valid"):
            client.get_datasets()
        name = admin.register_ssh_key(public, [READ, WRITE], title="Ada", admin=True)
        assert [each["dataset"].title for each in client.get_datasets(title_like="F%")] == ["Films"]
    with UserClient.create_with_ssh_private_key(tmp_path / "id", password, url=closed.url) as client:
        made = client.create_dataset("Example Title", StorageLocation.CORD_STORAGE, "of all sites")
        dataset = client.get_dataset(made["dataset_hash"])
        row = dataset.upload_image(image(tmp_path / "a.png"), client_metadata={"site": "A"})
        assert dataset.data_rows == [row]
        assert "Ada (key ssh:" in next(penstock.Dataset("demo/example-title").log()).author
        closed.ask("DELETE", f"/api/ssh-keys/{name}", key=admin._driver._connection.key)
        with pytest.raises(AccessError):
            client.get_datasets()


def test_no_route_answers_who_has_no_key_and_none_of_a_dataset_who_has_anothers(closed):
    """Of all routes that there are, so that one that is new is asked as well."""
    films = hash_of(closed, "films")
    foreign = closed.context.keys.create("", [READ, WRITE], hash_of(closed, "other"), is_admin=True).secret
    document = closed.ask("GET", "/openapi.json").json()["paths"]
    open_to_all = {"/health", "/metrics", "/signed/{token}/{name}"}
    asked = 0
    for path, methods in document.items():
        place = path.replace("{dataset}", films).replace("{bucket}", "demo").replace("{task}", "1")
        place = place.replace("{key}", "x" if "/keys/" in path else f".penstock/datasets/films/{'0' * 16}")
        for name in ("uid", "upload", "fingerprint", "token", "name"):
            place = place.replace(f"{{{name}}}", "x")
        for method in methods:
            if path in open_to_all or (path, method) == ("/api/session", "post"):
                continue
            asked += 1
            assert closed.ask(method.upper(), place).status == 401, (method, path)
            if "{dataset}" in path or "{bucket}" in path:
                assert closed.ask(method.upper(), place, key=foreign).status in (403, 404, 422), (method, path)
    assert asked > 25


def test_a_signed_request_is_believed_once_for_what_it_says(closed, admin):
    private, public = written(ed25519.Ed25519PrivateKey.generate())
    admin.register_ssh_key(public, [READ])
    signer = SshSigner(private)

    def ask(target="/api/caller", *, sent=None, method="GET", nonce=None, now=None, body=b""):
        header = signer.header(
            method, target, body, nonce=nonce or secrets.token_urlsafe(24), now=time.time() if now is None else now
        )
        return closed.ask(method, sent or target, authorization=header, raw=body or None).status

    assert ask() == 200
    assert ask(nonce="the same nonce twice") == 200
    assert ask(nonce="the same nonce twice") == 401
    assert ask(sent="/api/datasets") == 401
    assert ask(sent="/api/caller?more=1") == 401
    assert ask(now=time.time() - 400) == 401
    assert ask(now=time.time() + 400) == 401
    assert ask(now=float("nan")) == 401
    assert ask(nonce="short") == 401
    header = signer.header("POST", "/api/datasets", b'{"title":"A"}', nonce=secrets.token_hex(16), now=time.time())
    assert closed.ask("POST", "/api/datasets", raw=b'{"title":"B"}', authorization=header).status == 401


def test_what_is_no_key_of_ssh_is_told_so(closed, admin, tmp_path):
    private, public = written(ec.generate_private_key(ec.SECP256R1()))
    small = written(rsa.generate_private_key(65537, 1024))[1]
    for wrong in ("", "ssh-ed25519", "ssh-ed25519 AAAA", "x" * 9000, public, small):
        with pytest.raises(UsageError):
            admin.register_ssh_key(wrong, [READ])
    (tmp_path / "notes").write_text("no key")
    for wrong in (
        tmp_path / "notes",
        private,
        "-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n-----END OPENSSH PRIVATE KEY-----\n",
    ):
        with pytest.raises(UsageError):
            UserClient.create_with_ssh_private_key(wrong, url=closed.url)
    with pytest.raises(NotFoundError):
        UserClient.create_with_ssh_private_key(tmp_path / "none", url=closed.url)
    with pytest.raises(UsageError, match="no server"):
        UserClient.create_with_key("psk_x")
    with pytest.raises(UsageError, match="no TLS"):
        UserClient.create_with_key("psk_x", url="http://data.example.org")
    with pytest.raises(UsageError, match="names no dataset"):
        Dataset("https://data.example.org/demo")


def test_an_admin_gives_out_keys_and_takes_them_back(closed, admin):
    hash_ = hash_of(closed, "films")
    key = admin.create_dataset_api_key(hash_, "Example api key title", [READ, WRITE])
    assert (key.scopes, key.title, key.dataset_hash) == ([READ, WRITE], "Example api key title", hash_)
    first, second = (admin.get_or_create_dataset_api_key(hash_) for _ in range(2))
    assert [each.api_key for each in admin.get_dataset_api_keys(hash_)] == [key.api_key, second.api_key]
    assert all(not each.secret for each in admin.get_dataset_api_keys(hash_))
    dataset = Dataset(f"{closed.url}/demo/films", key=key.secret)
    assert (dataset.title, dataset.user_role) == ("Films", DatasetUserRole.ADMIN)
    with pytest.raises(AccessError):
        Dataset(f"{closed.url}/demo/films", key=first.secret).info()
    mine = UserClient.create_with_key(key.secret, url=closed.url)
    for forbidden in (
        lambda: mine.create_dataset("Mine"),
        lambda: mine.create_dataset_api_key(hash_, "", [READ]),
        lambda: mine.get_or_create_dataset_api_key(hash_),
        lambda: mine.get_dataset_api_keys(hash_),
        lambda: mine.revoke_dataset_api_key(second.api_key),
        lambda: mine.register_ssh_key("ssh-ed25519 AAAA", [READ]),
    ):
        with pytest.raises(AccessError):
            forbidden()
    admin.revoke_dataset_api_key(key.api_key)
    with pytest.raises(AccessError):
        dataset.info()


def test_a_key_that_writes_uploads_changes_commits_and_deletes(closed, tmp_path):
    dataset = client_of(closed, "films", READ, WRITE)
    clip = dataset.upload_video(video(tmp_path / "clip.mp4"), title="A clip", client_metadata={"site": "A"}, folder="f")
    assert (clip.title, clip.path, clip.frames, clip.client_metadata) == ("A clip", "f/clip.mp4", 25, {"site": "A"})
    assert dataset.upload_video(tmp_path / "clip.mp4", folder="f").path == "f/clip-2.mp4"
    groups = dataset.create_image_group([image(tmp_path / "a.png"), image(tmp_path / "b.png", (96, 48))])
    assert [each.frames for each in groups] == [1, 1]
    changed = dataset.update_row(clip.uid, title="B")
    assert (changed.title, dataset.get_row(clip.uid).title) == ("B", "B")
    with pytest.warns(UserWarning, match="1 rows are not of films"):
        assert dataset.delete_data([clip.uid, "foreign"]) == [clip.uid]
    (tmp_path / "notes.txt").write_text("hello")
    top_hash = dataset.commit({"docs/notes.txt": tmp_path / "notes.txt"}, delete=["f"], message="Why not")
    assert (penstock.open("demo/films").top_hash, dataset.package().read("docs/notes.txt")) == (top_hash, b"hello")
    assert "f" not in [each.name for each in dataset.package().ls()]
    newest = next(penstock.Dataset("demo/films").log())
    assert (newest.message, newest.author.startswith("key ")) == ("Why not", True)
    with pytest.raises(PenstockError, match="is no video"):
        dataset.upload_video(tmp_path / "notes.txt")
    with pytest.raises(NotFoundError):
        dataset.upload_video(tmp_path / "none.mp4")


def test_a_folder_is_added_whole_and_looked_into_by_a_bucket_and_by_a_server_alike(closed, tmp_path, demo):
    folder = tmp_path / "folder"
    (folder / "sub").mkdir(parents=True)
    video(folder / "sub" / "clip.mp4")
    image(folder / "shot.png")
    (folder / "notes.txt").write_text("hello")
    (folder / "link.png").symlink_to(folder / "shot.png")
    catalogue = Catalogue.open(demo, state=str(tmp_path / "own-state"))
    for dataset in (client_of(closed, "films", READ, WRITE), catalogue.get_dataset("other")):
        rows = dataset.upload_folder(folder, folder="in")
        assert sorted(row.path for row in rows) == ["in/shot.png", "in/sub/clip.mp4"]
        files = [entry.key for entry in dataset.package() if entry.is_file()]
        assert files == ["in/notes.txt", "in/shot.png", "in/sub/clip.mp4"]
        name = dataset.info().name
        assert len(list(penstock.Dataset(f"demo/{name}").log())) == 2
        with pytest.raises(PenstockError) as refused:
            dataset.upload_folder(folder, folder="in")
        assert "3 of 3 files are there already" in str(refused.value)
        dataset.commit({"more.png": folder / "shot.png"}, message="Plain")
        assert dataset.index().added == 1
        assert [row.path for row in dataset.data_rows] == ["in/shot.png", "in/sub/clip.mp4", "more.png"]
    with pytest.raises(NotFoundError):
        catalogue.get_dataset("other").upload_folder(tmp_path / "none")
    reader = client_of(closed, "films", READ)
    with pytest.raises(AccessError):
        reader.index()
    catalogue.close()


def test_keys_are_made_on_a_bucket_as_on_a_server(closed, tmp_path, demo):
    with Catalogue.open(demo, state=str(tmp_path / "state")) as catalogue:  # the state of the server
        made = catalogue.create_dataset_api_key("films", "for Bea", [READ])
        assert Dataset(f"{closed.url}/demo/films", key=made.secret).title == "Films"
        assert [each.api_key for each in catalogue.get_dataset_api_keys("films")] == [made.api_key]
        catalogue.revoke_dataset_api_key(made.api_key)
        with pytest.raises(AccessError):
            Dataset(f"{closed.url}/demo/films", key=made.secret).info()
        with pytest.raises(UsageError, match="gives out no credentials"):
            catalogue.storage_credentials("demo")


def test_a_key_that_does_not_write_changes_nothing(closed, tmp_path):
    client_of(closed, "films", WRITE).commit({"a.txt": image(tmp_path / "a.png")})
    top_hash = penstock.open("demo/films").top_hash
    for dataset in (client_of(closed, "films", READ), client_of(closed, "other", READ, WRITE)):
        dataset._driver._hash = ""
        foreign = Dataset(f"{closed.url}/demo/films", key=dataset._driver._connection.key)
        for forbidden in (
            lambda foreign=foreign: foreign.upload_image(tmp_path / "a.png"),
            lambda foreign=foreign: foreign.commit({}, delete=["a.txt"]),
            lambda foreign=foreign: foreign.delete_data(["x"]),
            lambda foreign=foreign: foreign.update_row("x", title="y"),
            lambda foreign=foreign: foreign.re_encode_data(["x"]),
            lambda foreign=foreign: foreign.add_private_data_to_dataset("lab", {}),
        ):
            with pytest.raises(AccessError):
                forbidden()
    assert penstock.open("demo/films").top_hash == top_hash


def begun(site, dataset, body, key, name="a.bin"):
    sent = {"name": name, "size": len(body), "sha256": hashlib.sha256(body).hexdigest()}
    return site.ask("POST", f"/api/datasets/{dataset}/uploads", key=key, body=sent)


def test_an_upload_goes_on_where_it_was_cut_off_and_is_nobody_elses(closed, monkeypatch):
    hash_, body = hash_of(closed, "films"), os.urandom(3000)
    own, other = (closed.context.keys.create("", [READ, WRITE], hash_).secret for _ in range(2))
    upload = begun(closed, hash_, body, own).json()["upload"]
    place = f"/api/uploads/{upload}"
    assert closed.ask("PUT", f"{place}?offset=0", key=own, raw=body[:1000]).json() == {"received": 1000}
    assert closed.ask("PUT", f"{place}?offset=0", key=own, raw=body[:1000]).json() == {"received": 1000}
    assert closed.ask("PUT", f"{place}?offset=2000", key=own, raw=body[2000:]).status == 409
    assert closed.ask("PUT", f"{place}?offset=1000", key=own, raw=body).status == 400
    assert closed.ask("PUT", f"{place}?offset=1000", key=other, raw=body[1000:]).status == 404
    assert begun(closed, hash_, body, own).json() == {"upload": upload, "received": 1000}
    files = [{"upload": upload, "key": "a.bin"}]
    addition = {"kind": "commit", "files": files}
    assert closed.ask("POST", f"/api/datasets/{hash_}/additions", key=other, body=addition).status == 404
    for wrong in ({"kind": "smell"}, {"kind": "commit"}, {"kind": "commit", "files": [{"upload": "none"}]}):
        assert closed.ask("POST", f"/api/datasets/{hash_}/additions", key=own, body=wrong).status in (400, 404)
    for name, size in (("../a", 1), ("a/b", 1), ("", 1), ("a", 1 << 49), ("a", -1)):
        sent = {"name": name, "size": size, "sha256": "0" * 64}
        assert closed.ask("POST", f"/api/datasets/{hash_}/uploads", key=own, body=sent).status in (400, 422)
    monkeypatch.setattr(closed.context.uploads, "_most_bytes", 4000)
    assert begun(closed, hash_, os.urandom(2000), own).status == 409
    assert closed.ask("DELETE", place, key=other).status == 404
    assert closed.ask("DELETE", place, key=own).status == 204


def test_an_upload_that_arrived_damaged_becomes_nothing(closed, tmp_path):
    dataset, top_hash = client_of(closed, "films", READ, WRITE), penstock.open("demo/films").top_hash
    uploads = closed.context.uploads
    true_append = uploads.append
    (tmp_path / "a.bin").write_bytes(b"something")

    def bent(upload, offset, body):
        return true_append(upload, offset, bytes(len(body)))

    object.__setattr__(uploads, "append", bent)
    with pytest.raises(PenstockError, match="arrived damaged") as refused:
        dataset.commit({"a.bin": tmp_path / "a.bin"})
    assert not isinstance(refused.value, IntegrityError | ConflictError)
    assert penstock.open("demo/films").top_hash == top_hash


def test_a_server_that_does_not_answer_is_told_in_time(monkeypatch):
    monkeypatch.setattr("penstock.catalogue.client.server_connection._SECONDS", 1.0)
    for method in ("GET", "POST"):
        with pytest.raises(StoreUnreachableError, match="does not answer"):
            ServerConnection("http://127.0.0.1:1", key="psk_x").ask(method, "/api/caller")


class Stumbling(http.server.BaseHTTPRequestHandler):
    """Answers every other request."""

    def do_GET(self):
        self.server.asked.append(self.command)
        status = 503 if len(self.server.asked) % 2 else 200
        self.send_response(status)
        self.send_header("content-length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    do_POST = do_GET  # noqa: N815  # the base class calls it so

    def log_message(self, *_):
        pass


def test_what_does_no_harm_is_asked_for_again_and_nothing_else():
    with http.server.HTTPServer(("127.0.0.1", 0), Stumbling) as server:
        server.asked = []
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            connection = ServerConnection(f"http://127.0.0.1:{server.server_port}", key="psk_x")
            assert connection.ask("GET", "/api/caller") == {}
            with pytest.raises(StoreUnreachableError, match="answers something else"):
                connection.ask("POST", "/api/datasets", {"title": "A"})
            assert connection.ask("POST", "/x") == {}
            assert connection.ask("POST", "/x", again=True) == {}
            assert server.asked == ["GET", "GET", "POST", "POST", "POST", "POST"]
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
def gateway():
    """The S3 server, one that gives out credentials of roles."""
    with RadosGateway(gives_roles=True) as running:
        yield running


@pytest.mark.s3
def test_credentials_of_the_store_read_one_bucket_and_nothing_else(
    gateway, bucket, aws_environment, demo, tmp_path, monkeypatch
):
    """Only to keys of all datasets: what a bucket's datasets share, no policy parts."""
    penstock.add_remote("cloud", f"s3://{bucket}", endpoint_url=gateway.endpoint)
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "a.bin").write_bytes(os.urandom(5000))
    penstock.Dataset("cloud/films").push(tmp_path / "d")
    gateway.make_bucket(f"{bucket}-other")
    for name in (bucket, f"{bucket}-other"):
        assert gateway.request("PUT", f"/{name}/secret", b"secret").status == 200
    role = gateway.make_role(f"reader-{bucket}")
    with running(tmp_path / "state", "cloud", demo, is_trusting=False, role=role) as site:
        keys, films = site.context.keys, site.context.buckets["cloud"].hash_of("films")
        every = UserClient.create_with_key(keys.create("", [READ]).secret, url=site.url)
        told = every.storage_credentials("cloud", 900)
        for secret in (keys.create("", [READ, WRITE], films).secret, keys.create("", [WRITE]).secret):
            with pytest.raises(AccessError):
                UserClient.create_with_key(secret, url=site.url).storage_credentials("cloud")
        with pytest.raises(UsageError, match="gives out no credentials"):
            every.storage_credentials("demo")
        with pytest.raises(NotFoundError):
            every.storage_credentials("none")
    for name, value in (
        ("ACCESS_KEY_ID", "access_key"),
        ("SECRET_ACCESS_KEY", "secret_key"),
        ("SESSION_TOKEN", "session_token"),
    ):
        monkeypatch.setenv(f"AWS_{name}", told[value])
    assert told["url"] == f"s3://{bucket}"
    monkeypatch.setenv("PENSTOCK_CONFIG", str(tmp_path / "none.toml"))
    monkeypatch.setenv("PENSTOCK_CACHE_DIR", str(tmp_path / "their-cache"))
    assert penstock.open(f"s3://{bucket}/films").read("a.bin") == (tmp_path / "d" / "a.bin").read_bytes()
    with Settings.load().open_bucket(f"s3://{bucket}") as store:
        for refused in (
            lambda: store.put(".penstock/datasets/films/x", b""),
            lambda: store.delete([".penstock/datasets/films/info"]),
            lambda: list(store.list("")),
            lambda: store.get("secret"),
        ):
            with pytest.raises(AccessError):
                refused()
    with Settings.load().open_bucket(f"s3://{bucket}-other") as store, pytest.raises(AccessError):
        store.get("secret")


# A version that is shown by a key is held


def as_reader(site, key):
    settings = Settings.load()
    options = replace(settings.store_options, key=key)
    return replace(settings, store_options=options).open_bucket(f"{site.url}/demo")


def test_a_version_that_is_shown_by_a_key_is_left_by_gc(closed, tmp_path, monkeypatch):
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "a.bin").write_bytes(os.urandom(5000))
    films, bucket = penstock.Dataset("demo/films"), closed.context.buckets["demo"].session.store
    films.push(tmp_path / "d")
    shown = penstock.open("demo/films").top_hash
    films.reset(list(films.log())[-1].commit)

    def is_there(number):
        monkeypatch.setenv("PENSTOCK_CACHE_DIR", str(tmp_path / f"cache-{number}"))
        try:
            return penstock.open(f"demo/films:{shown}").read("a.bin") == (tmp_path / "d" / "a.bin").read_bytes()
        except PenstockError:
            return False

    with as_reader(closed, client_of(closed, "films", READ)._driver._connection.key) as store:
        lease = held_version(store, "films", LeaseKind.MOUNT, [bytes.fromhex(shown)])
        assert [each.holds for each in leases(bucket)] == [(bytes.fromhex(shown),)]
        penstock.Bucket("demo").gc(delete=True, grace=0, agree=lambda report: True)
        assert is_there(1)
        lease.close()
    assert leases(bucket) == []
    penstock.Bucket("demo").gc(delete=True, grace=0, agree=lambda report: True)
    assert not is_there(2)


def test_a_key_takes_and_gives_back_leases_of_its_own_dataset_alone(closed, monkeypatch):
    ours = client_of(closed, "films", READ)._driver._connection.key
    theirs = client_of(closed, "other", READ)._driver._connection.key
    bucket = closed.context.buckets["demo"].session.store
    name = object_keys.lease_key(LeaseKind.MOUNT, "0" * 32)
    path = f"/store/demo/o/{name}"
    good = b'{"penstock":1,"dataset":"films","seconds":3600,"host":"x","holds":["%s"]}' % (b"0" * 64)
    assert closed.ask("PUT", path, key=ours, raw=good).status == 204
    assert len(leases(bucket)) == 1
    assert closed.ask("DELETE", path, key=theirs).status == 204
    assert len(leases(bucket)) == 1
    for body in (
        b"no lease",
        good.replace(b"films", b"other"),
        good.replace(b"3600", b"1e9"),
        good.replace(b"3600", b"-1"),
        good.replace(b'["', b'["zz'),
        good.replace(b'"penstock":1', b'"penstock":2'),
        b" " * (1 << 17) + good,
    ):
        assert closed.ask("PUT", path, key=ours, raw=body).status in (400, 403), body[:80]
    for key in (name.replace("mount", "push"), name + "0", ".penstock/data/00/" + "0" * 64, "somewhere"):
        assert closed.ask("PUT", f"/store/demo/o/{key}", key=ours, raw=good).status == 403
        assert closed.ask("DELETE", f"/store/demo/o/{key}", key=ours).status == 403
    monkeypatch.setattr("penstock.catalogue.state.reader_lease_table._MOST", 1)
    assert closed.ask("PUT", path.replace("0" * 32, "1" * 32), key=ours, raw=good).status == 409
    assert closed.ask("PUT", path, key=ours, raw=good).status == 204
    assert closed.ask("DELETE", path, key=ours).status == 204
    assert leases(bucket) == []
