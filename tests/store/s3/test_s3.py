"""What only the store in S3 does: credentials, permissions, clocks, headers, regions, forks."""

from __future__ import annotations

import base64
import hashlib
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from servers.faultproxy import FaultProxy, Status
from servers.rgw import RadosGateway

from penstock.errors import (
    AccessError,
    ConflictError,
    NotFoundError,
    PenstockError,
    StoreUnreachableError,
    UsageError,
)
from penstock.store import ByteRange, Store, StoreOptions, open_store

pytestmark = pytest.mark.s3

BODY = b"0123456789" * 1000
QUICK = StoreOptions(connect_timeout=1, read_timeout=2, deadline=4, max_attempts=3)

EVERY_CALL: list[Callable[[Store], object]] = [
    lambda store: store.get("key"),
    lambda store: store.get("key", ByteRange(0, 1)),
    lambda store: store.put("new", b""),
    lambda store: store.create("new", b""),
    lambda store: store.head("key"),
    lambda store: list(store.list()),
    lambda store: list(store.list_folders()),
    lambda store: store.delete(["key"]),
    lambda store: store.copy(store, "key", "copy"),
]


@pytest.fixture
def store(bucket: str, aws_environment: dict[str, str]) -> Store:
    opened = open_store(f"s3://{bucket}")
    opened.put("key", BODY)
    return opened


def assert_all_fail(store: Store, kind: type[PenstockError], *, saying: str, within: float = 4.0) -> None:
    for call in EVERY_CALL:
        started = time.monotonic()
        with pytest.raises(kind) as caught:
            call(store)
        assert time.monotonic() - started < within
        assert saying in str(caught.value)
        assert "\n" not in str(caught.value)
        assert caught.value.why
        assert caught.value.fix


def allow_everyone(gateway: RadosGateway, bucket: str, *actions: str) -> None:
    statement = {
        "Effect": "Allow",
        "Principal": "*",
        "Action": list(actions),
        "Resource": [f"arn:aws:s3:::{bucket}", f"arn:aws:s3:::{bucket}/*"],
    }
    policy = json.dumps({"Version": "2012-10-17", "Statement": [statement]}).encode()
    assert gateway.request("PUT", f"/{bucket}?policy", policy).status in (200, 204)


# Where it is and who asks


def test_nothing_but_the_environment(
    bucket: str, aws_environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AWS_DEFAULT_REGION")
    with open_store(f"s3://{bucket}") as store:
        store.put("key", BODY)
        assert store.get("key") == BODY


def test_the_endpoint_of_s3_alone(
    bucket: str, aws_environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", aws_environment["AWS_ENDPOINT_URL"])
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    with open_store(f"s3://{bucket}") as store:
        assert list(store.list()) == []


def test_a_profile(gateway: RadosGateway, bucket: str, isolated_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (isolated_home / "aws-config").write_text(
        f"[profile lab]\nregion = us-east-1\nendpoint_url = {gateway.endpoint}\n"
        f"aws_access_key_id = {gateway.access_key}\naws_secret_access_key = {gateway.secret_key}\n"
    )
    with open_store(f"s3://{bucket}", StoreOptions(profile="lab")) as store:
        store.put("key", BODY)
        assert store.get("key") == BODY
    with open_store(f"s3://{bucket}", StoreOptions(profile="lap")) as store:
        assert_all_fail(store, UsageError, saying="lap")


def test_no_credentials(gateway: RadosGateway, bucket: str) -> None:
    with open_store(f"s3://{bucket}", replace(QUICK, endpoint_url=gateway.endpoint)) as store:
        assert_all_fail(store, AccessError, saying="aws configure")


def test_no_bucket(aws_environment: dict[str, str]) -> None:
    for url in ("s3://no-such-bucket", "s3://no-such-bucket/prefix"):
        with open_store(url, QUICK) as store:
            assert_all_fail(store, NotFoundError, saying="no bucket 'no-such-bucket'")


def test_an_unknown_access_key(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKNOBODYNOBODYNOBODY")
    with open_store(store.url, QUICK) as stranger:
        assert_all_fail(stranger, AccessError, saying="does not know this access key")


def test_a_wrong_secret(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    with open_store(store.url, QUICK) as stranger:
        assert_all_fail(stranger, AccessError, saying="the secret access key is wrong")


def test_a_bucket_without_permission(store: Store, gateway: RadosGateway, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", gateway.other_access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", gateway.other_secret_key)
    with open_store(store.url, QUICK) as stranger:
        assert_all_fail(stranger, AccessError, saying="may not")


def test_a_bucket_that_may_only_be_read(
    store: Store, gateway: RadosGateway, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    allow_everyone(gateway, bucket, "s3:GetObject", "s3:ListBucket")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", gateway.other_access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", gateway.other_secret_key)
    with open_store(store.url, QUICK) as reader:
        assert reader.get("key") == BODY
        assert reader.head("other") is None
        for call in (lambda: reader.put("key", b""), lambda: reader.delete(["key"])):
            with pytest.raises(AccessError):
                call()
    assert store.get("key") == BODY


def test_anonymous(store: Store, gateway: RadosGateway, bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    with open_store(store.url, replace(QUICK, anonymous=True)) as passer_by:
        assert_all_fail(passer_by, AccessError, saying="not public")
        allow_everyone(gateway, bucket, "s3:GetObject", "s3:ListBucket")
        assert passer_by.get("key") == BODY
        assert [info.key for info in passer_by.list()] == ["key"]


# Clocks

_SHIFTED_CLOCK = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <time.h>
int clock_gettime(clockid_t id, struct timespec *now) {
    static int (*real)(clockid_t, struct timespec *);
    if (!real) real = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
    int result = real(id, now);
    if (!result && id == CLOCK_REALTIME) now->tv_sec += SHIFT;
    return result;
}
"""


@pytest.mark.parametrize("shift", [3600, -3600])
def test_a_wrong_clock(
    store: Store, tmp_path: Path, aws_environment: dict[str, str], monkeypatch: pytest.MonkeyPatch, shift: int
) -> None:
    """The whole process lives in a time of its own: its C library says so."""
    compiler = shutil.which("gcc") or shutil.which("cc")
    assert compiler, "a C compiler is needed, as it is to install pyfuse3: apt-get install gcc"
    (tmp_path / "clock.c").write_text(_SHIFTED_CLOCK)
    library = tmp_path / "clock.so"
    command = [compiler, "-shared", "-fPIC", f"-DSHIFT={shift}", "-o", str(library), str(tmp_path / "clock.c"), "-ldl"]
    subprocess.run(command, check=True)
    script = (
        "import sys, time\n"
        "from penstock.errors import AccessError\n"
        "from penstock.store import open_store\n"
        "for call in (lambda s: s.get('key'), lambda s: s.head('key'), lambda s: s.put('new', b'')):\n"
        "    try:\n"
        "        call(open_store(sys.argv[1]))\n"
        "    except AccessError as error:\n"
        "        print(error)\n"
    )
    monkeypatch.setenv("LD_PRELOAD", str(library))
    done = subprocess.run(
        [sys.executable, "-c", script, store.url], check=True, timeout=60, stdout=subprocess.PIPE, text=True
    )
    lines = done.stdout.splitlines()
    assert len(lines) == 3
    for line in lines:
        assert "clock says" in line
        assert "timedatectl" in line
        apart = int(line.partition(" seconds apart")[0].rpartition(" ")[2])
        assert abs(apart - 3600) <= 5


# Headers


def sent(proxy: FaultProxy, method: str) -> list[dict[str, str]]:
    return [
        {name.lower(): value for name, value in dict(seen.headers).items()}
        for seen in proxy.requests
        if seen.method == method
    ]


def test_requester_pays_everywhere(store: Store, fault_proxy: FaultProxy) -> None:
    options = StoreOptions(endpoint_url=fault_proxy.endpoint, request_payer=True)
    with open_store(store.url, options) as payer:
        for call in EVERY_CALL[:-2]:
            call(payer)
        payer.copy(payer, "key", "copy")
        payer.delete(["key"])
        payer.delete(["key", "copy"])
        payer.head("never")
    assert len(fault_proxy.requests) >= len(EVERY_CALL)
    for method in ("GET", "PUT", "HEAD", "POST", "DELETE"):
        assert sent(fault_proxy, method)
        for headers in sent(fault_proxy, method):
            assert headers.get("x-amz-request-payer") == "requester", method


def test_encryption_is_asked_for(store: Store, fault_proxy: FaultProxy) -> None:
    """The gateway has no key server, so that it is answered for: what counts is what was asked."""
    fault_proxy.fail(
        fault=Status(200, b"<CopyObjectResult/>", (("ETag", '"x"'),)), match=lambda method, _: method == "PUT", times=9
    )
    options = StoreOptions(endpoint_url=fault_proxy.endpoint, sse="aws:kms", sse_kms_key_id="a-key")
    with open_store(store.url, options) as encrypting:
        encrypting.put("a", BODY)
        assert encrypting.create("b", BODY)
        encrypting.copy(encrypting, "key", "c")
    assert len(sent(fault_proxy, "PUT")) == 3
    for headers in sent(fault_proxy, "PUT"):
        assert headers["x-amz-server-side-encryption"] == "aws:kms"
        assert headers["x-amz-server-side-encryption-aws-kms-key-id"] == "a-key"


def test_encryption_that_the_server_refuses(store: Store) -> None:
    unknown = replace(QUICK, sse="aws:kms", sse_kms_key_id="no-such-key")
    with open_store(store.url, unknown) as encrypting, pytest.raises(PenstockError):
        encrypting.put("a", BODY)


@pytest.mark.parametrize("size", [100, 1 << 20])
def test_uploads_carry_a_checksum_that_old_servers_know(store: Store, fault_proxy: FaultProxy, size: int) -> None:
    with open_store(store.url, StoreOptions(endpoint_url=fault_proxy.endpoint)) as through:
        through.put("a", bytes(size))
        through.create("b", bytes(size))
        through.delete(["a", "b"])
    writes = sent(fault_proxy, "PUT") + sent(fault_proxy, "POST")
    assert len(writes) == 3
    for headers in writes:
        assert headers["content-md5"]
        assert "x-amz-trailer" not in headers
        assert headers.get("content-encoding") != "aws-chunked"
    for headers in sent(fault_proxy, "PUT"):
        # Asking for leave costs a round trip: not for a small body.
        assert ("expect" in headers) == (size > 100)


def test_path_style(store: Store, fault_proxy: FaultProxy, bucket: str) -> None:
    options = StoreOptions(endpoint_url=fault_proxy.endpoint, addressing_style="path")
    with open_store(store.url, options) as through:
        assert through.get("key") == BODY
    assert fault_proxy.requests[-1].path.startswith(f"/{bucket}/key")


def test_virtual_host_style(store: Store, fault_proxy: FaultProxy, bucket: str) -> None:
    """The gateway serves no such host name: what counts is where the bucket's name is put."""
    options = replace(
        QUICK, endpoint_url=f"http://localhost:{fault_proxy.port}", addressing_style="virtual", max_attempts=1
    )
    with open_store(store.url, options) as through, pytest.raises(PenstockError):
        through.get("key")
    reached = [dict(seen.headers) for seen in fault_proxy.requests]
    for headers in reached:  # none, where the resolver knows no names below localhost
        host = {name.lower(): value for name, value in headers.items()}["host"]
        assert host.startswith(f"{bucket}.localhost")


# Regions and strange servers


def redirect(region: str | None) -> Status:
    body = b"<Error><Code>PermanentRedirect</Code><Message>elsewhere</Message></Error>"
    headers = (("Content-Type", "application/xml"),) + ((("x-amz-bucket-region", region),) if region else ())
    return Status(301, body, headers)


def test_a_bucket_in_another_region(store: Store, fault_proxy: FaultProxy) -> None:
    fault_proxy.fail(fault=redirect("eu-central-1"), times=1000)
    with open_store(store.url, replace(QUICK, endpoint_url=fault_proxy.endpoint)) as through:
        assert_all_fail(through, UsageError, saying="AWS_REGION=eu-central-1")


def test_a_bucket_somewhere_else(store: Store, fault_proxy: FaultProxy) -> None:
    fault_proxy.fail(fault=redirect(None), times=1000)
    with open_store(store.url, replace(QUICK, endpoint_url=fault_proxy.endpoint)) as through:
        assert_all_fail(through, UsageError, saying="region")
    assert len(fault_proxy.requests) < 6 * len(EVERY_CALL)


def test_a_server_that_sends_all_requests_elsewhere(store: Store, fault_proxy: FaultProxy) -> None:
    moved = Status(301, b"<html></html>", (("Location", "https://s3.example.org/"), ("Content-Type", "text/html")))
    fault_proxy.fail(fault=moved, times=1000)
    with open_store(store.url, replace(QUICK, endpoint_url=fault_proxy.endpoint)) as through:
        assert_all_fail(through, UsageError, saying="https://s3.example.org/")


def test_a_redirect_to_the_right_region_is_followed(store: Store, fault_proxy: FaultProxy) -> None:
    fault_proxy.fail(fault=redirect("us-west-2"))
    with open_store(store.url, replace(QUICK, endpoint_url=fault_proxy.endpoint)) as through:
        assert through.get("key") == BODY


def test_a_server_that_does_not_speak_s3(store: Store, fault_proxy: FaultProxy) -> None:
    page = b"<html><body><p>Welcome<br></body></html>"
    fault_proxy.fail(fault=Status(200, page, (("Content-Type", "text/html"),)), times=1000)
    with open_store(store.url, replace(QUICK, endpoint_url=fault_proxy.endpoint)) as through:
        for call in (lambda: list(through.list()), lambda: through.delete(["key"])):
            with pytest.raises(StoreUnreachableError, match="a web page"):
                call()


def test_a_cache_on_the_way_that_ignores_ranges(store: Store, fault_proxy: FaultProxy) -> None:
    whole = Status(200, BODY, (("ETag", '"x"'), ("Content-Type", "binary/octet-stream")))
    fault_proxy.fail(fault=whole, times=1000)
    with open_store(store.url, replace(QUICK, endpoint_url=fault_proxy.endpoint)) as through:
        assert through.get("key", ByteRange(5, 7)) == BODY[5:12]
        assert through.get("key", ByteRange(len(BODY), 7)) == b""
        assert through.get("key", ByteRange(5, 0)) == b""


# Objects as other programs leave them


def test_odd_objects_of_others_can_be_read(store: Store, gateway: RadosGateway, bucket: str) -> None:
    for path in ("a//b", "a/", "c/./d"):
        assert gateway.request("PUT", f"/{bucket}/{path}", BODY).status == 200
    assert [info.key for info in store.list()] == ["a/", "a//b", "c/./d", "key"]
    assert store.get("a//b") == BODY
    assert store.get("c/./d", ByteRange(0, 3)) == BODY[:3]
    with open_store(f"s3://{bucket}/a") as below:
        assert [info.key for info in below.list(limit=1)] == ["/b"]
    store.copy(store, "a//b", "better")
    store.delete(["a//b", "a/", "c/./d"])
    assert [info.key for info in store.list()] == ["better", "key"]


def test_versions(store: Store, gateway: RadosGateway, bucket: str) -> None:
    status = b"<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>"
    assert gateway.request("PUT", f"/{bucket}?versioning", status).status == 200
    found = store.head("key")
    assert found is not None
    assert found.version_id is None
    versions = []
    for body in (b"one", b"two"):
        store.put("key", body)
        info = store.head("key")
        assert info is not None
        assert info.version_id
        versions.append(info.version_id)
    assert store.get("key", version_id=versions[0]) == b"one"
    assert store.get("key", ByteRange(1, 1), version_id=versions[1]) == b"w"
    store.copy(store, "key", "copy", source_version_id=versions[0])
    assert store.get("copy") == b"one"
    store.delete(["key"])
    assert store.head("key") is None
    assert store.get("key", version_id=versions[1]) == b"two"
    assert store.create("key", b"three")


def test_copy_between_buckets_and_not_between_servers(
    store: Store, gateway: RadosGateway, fault_proxy: FaultProxy
) -> None:
    gateway.make_bucket("copies-go-here")
    with open_store("s3://copies-go-here/below") as there:
        there.copy(store, "key", "copy")
        assert there.get("copy") == BODY
    other = open_store(store.url, StoreOptions(endpoint_url=fault_proxy.endpoint))
    with other, pytest.raises(UsageError, match="only its own"):
        store.copy(other, "key", "copy")


def test_an_etag_that_changed_is_not_downloaded(store: Store) -> None:
    store.put("big", bytes(8 << 20))
    with pytest.raises(ConflictError):
        store.get("big", etag="something else")
    assert store.get("key") == BODY


# Processes

_FORK = """
import os, sys, threading
from penstock.store import open_store
from penstock.store.s3 import s3_client
store = open_store(sys.argv[1])
assert store.get("key")
inside, leave = threading.Event(), threading.Event()
def hold():
    with s3_client._making:
        inside.set()
        leave.wait()
holder = threading.Thread(target=hold)
holder.start()
inside.wait()
child = os.fork()
if child == 0:
    ok = all(len(store.get("key")) == 10000 for _ in range(20))
    os._exit(0 if ok else 1)
for _ in range(20):
    assert len(store.get("key")) == 10000
assert os.waitpid(child, 0)[1] == 0
leave.set()
holder.join()
"""


def test_a_fork_gets_connections_of_its_own(store: Store) -> None:
    subprocess.run([sys.executable, "-c", _FORK, store.url], check=True, timeout=60)


def test_a_closed_store_lets_go(store: Store, fault_proxy: FaultProxy) -> None:
    through = open_store(store.url, replace(QUICK, endpoint_url=fault_proxy.endpoint))
    assert through.get("key") == BODY
    fault_proxy.down()
    with pytest.raises(StoreUnreachableError, match="refused"):
        through.get("key")
    through.close()


def test_a_head_and_a_read_without_the_customers_key_say_what_it_is(
    store: Store, bucket: str, gateway: RadosGateway
) -> None:
    key = b"k" * 32
    headers = {
        "x-amz-server-side-encryption-customer-algorithm": "AES256",
        "x-amz-server-side-encryption-customer-key": base64.b64encode(key).decode(),
        "x-amz-server-side-encryption-customer-key-md5": base64.b64encode(hashlib.md5(key).digest()).decode(),
    }
    assert gateway.request("PUT", f"/{bucket}/secret", body=BODY, headers=headers).status == 200
    for call in (
        lambda: store.get("secret"),
        lambda: store.get("secret", ByteRange(5, 5)),
        lambda: store.head("secret"),
    ):
        with pytest.raises(AccessError, match=r"customer's key \(SSE-C\)"):
            call()
