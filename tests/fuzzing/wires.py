"""Targets that answer or ask over a socket: a server that says it is S3, and clients of a mount's control socket."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from views.bucket import LocalBucket

from penstock.error_form import raise_form
from penstock.errors import PenstockError
from penstock.mountpoint.control_messages import (
    AccessLogRequest,
    AnnounceRequest,
    Answer,
    ChangesRequest,
    JobStateRequest,
    Question,
    Request,
    RequestRefusal,
    StatusRequest,
)
from penstock.mountpoint.detach import detach
from penstock.mountpoint.known_mounts import list_mounts
from penstock.mountpoint.mount import mount
from penstock.mountpoint.mount_options import MountOptions
from penstock.mountpoint.mount_records import control_path
from penstock.mountpoint.processes import start_time, wait_for_end
from penstock.store.base import ByteRange, Store
from penstock.store.opening import open_store
from penstock.store.options import StoreOptions
from penstock.wire import decode_message, encode_message

from .campaign import Attempt, Target
from .home import at_home

__all__ = ["TARGETS"]

Opened = Iterator[tuple[Sequence[bytes], Attempt]]

_DATE = b"Mon, 30 Nov 2026 04:00:00 GMT"
_XML = b'<?xml version="1.0" encoding="UTF-8"?>\n'


def _http(status: bytes, headers: dict[str, bytes], body: bytes = b"", length: bool = True) -> bytes:
    fields = {"Date": _DATE, "Server": b"S3", "x-amz-request-id": b"1", "Connection": b"close", **headers}
    if length:
        fields["Content-Length"] = b"%d" % len(body)
    lines = [b"HTTP/1.1 " + status, *(name.encode() + b": " + value for name, value in fields.items())]
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


_LISTING = (
    _XML
    + b"<ListBucketResult><Name>bucket</Name><Prefix></Prefix><KeyCount>2</KeyCount><MaxKeys>1000</MaxKeys>"
    + b"<IsTruncated>false</IsTruncated><Contents><Key>a</Key><LastModified>2026-01-01T00:00:00.000Z</LastModified>"
    + b"<ETag>&quot;900150983cd24fb0d6963f7d28e17f72&quot;</ETag><Size>3</Size><StorageClass>STANDARD</StorageClass>"
    + b"</Contents><Contents><Key>b/c</Key><LastModified>2026-01-01T00:00:00.000Z</LastModified><ETag>&quot;0&quot;"
    + b"</ETag><Size>4</Size></Contents><CommonPrefixes><Prefix>d/</Prefix></CommonPrefixes></ListBucketResult>"
)
_ERROR = _XML + b"<Error><Code>%b</Code><Message>words</Message><Region>eu</Region><RequestId>1</RequestId></Error>"
_DELETED = (
    _XML + b"<DeleteResult><Deleted><Key>a</Key></Deleted><Error><Key>b</Key><Code>%b</Code></Error></DeleteResult>"
)
_COPIED = (
    _XML
    + b"<CopyObjectResult><ETag>&quot;0&quot;</ETag>"
    + b"<LastModified>2026-01-01T00:00:00Z</LastModified></CopyObjectResult>"
)

_KIND = {"Content-Type": b"application/xml"}
_OBJECT = {"ETag": b'"900150983cd24fb0d6963f7d28e17f72"', "Last-Modified": _DATE, "x-amz-version-id": b"null"}

CALLS: dict[str, Callable[[Store], object]] = {
    "l": lambda store: sum(info.size for info in store.list(limit=2500)),
    "v": lambda store: store.list_level(""),
    "h": lambda store: store.head("a"),
    "g": lambda store: _checked(store.get("a"), 1 << 20),
    "r": lambda store: _checked(store.get("a", ByteRange(0, 3)), 3),
    "e": lambda store: store.get("a", etag="900150983cd24fb0d6963f7d28e17f72"),
    "p": lambda store: store.put("a", b"abc"),
    "c": lambda store: store.create("a", b"abc"),
    "d": lambda store: store.delete(["a", "b"]),
    "y": lambda store: store.copy(store, "a", "b"),
}


def _checked(body: bytes, most: int) -> None:
    assert len(body) <= most


class _Answers:
    """A server that gives one answer to whatever it is asked, and closes the connection."""

    def __init__(self) -> None:
        self._listening = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.address = f"http://127.0.0.1:{self._listening.getsockname()[1]}"
        self.answer = b""
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listening.accept()
            except OSError:
                return
            with connection, contextlib.suppress(OSError):
                connection.settimeout(2)
                request = b""
                while b"\r\n\r\n" not in request:
                    if not (part := connection.recv(65536)):
                        break
                    request += part
                else:
                    connection.sendall(self.answer)
                    connection.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        self._thread.join()


@contextlib.contextmanager
def _answers(folder: Path) -> Opened:
    """An input is a letter for the call that is made, and the answer that it gets."""
    options = StoreOptions(
        anonymous=True,
        region="us-east-1",
        addressing_style="path",
        connect_timeout=0.5,
        read_timeout=0.5,
        deadline=2.0,
        max_attempts=1,
    )
    ok = b"200 OK"
    samples = [
        b"l" + _http(ok, _KIND, _LISTING),
        b"v" + _http(ok, _KIND, _LISTING),
        b"h" + _http(ok, {**_OBJECT, "Content-Length": b"3"}, length=False),
        b"g" + _http(ok, _OBJECT, b"abc"),
        b"r" + _http(b"206 Partial Content", {**_OBJECT, "Content-Range": b"bytes 0-2/9"}, b"abc"),
        b"e" + _http(ok, _OBJECT, b"abc"),
        b"p" + _http(ok, _OBJECT),
        b"c" + _http(ok, _OBJECT),
        b"d" + _http(ok, _KIND, _DELETED % b"NoSuchKey"),
        b"y" + _http(ok, _KIND, _COPIED),
    ]
    refusals = [
        b"g" + _http(b"404 Not Found", _KIND, _ERROR % b"NoSuchKey"),
        b"l" + _http(b"403 Forbidden", _KIND, _ERROR % b"RequestTimeTooSkewed"),
        b"c" + _http(b"412 Precondition Failed", _KIND, _ERROR % b"PreconditionFailed"),
        b"r" + _http(b"416 Range Not Satisfiable", _KIND, _ERROR % b"InvalidRange"),
        b"g" + _http(b"301 Moved Permanently", {**_KIND, "x-amz-bucket-region": b"eu"}, _ERROR % b"PermanentRedirect"),
        b"h" + _http(b"404 Not Found", {}),
        b"p" + _http(b"400 Bad Request", _KIND, _ERROR % b"BadDigest"),
        b"g" + _http(b"200 OK", {"Content-Type": b"text/html"}, b"<html>hello</html>", length=False),
        b"d" + _http(ok, _KIND, _DELETED % b"AccessDenied"),
    ]
    server = _Answers()
    store = open_store("s3://bucket", replace(options, endpoint_url=server.address))

    def attempt(body: bytes) -> None:
        call = CALLS.get(body[:1].decode("latin-1"), CALLS["g"])
        server.answer = body[1:]
        with warnings.catch_warnings():
            # A time zone that dateutil does not know: it says so, and goes on.
            warnings.filterwarnings("ignore", category=RuntimeWarning)
            call(store)

    try:
        for body in refusals:
            with contextlib.suppress(PenstockError):
                attempt(body)
        yield samples, attempt
    finally:
        store.close()
        server.close()


@contextlib.contextmanager
def _control(folder: Path) -> Opened:
    """What a client may say to a mount: it is answered in one line of JSON, and the mount lives on."""
    demo = LocalBucket(folder / "demo")
    source = folder / "source"
    source.mkdir()
    (source / "a.txt").write_bytes(b"hello")
    demo.push(source)
    place = folder / "mnt"
    place.mkdir()
    options = MountOptions(writable=True, overlay_directory=str(folder / "overlay"))
    home = contextlib.ExitStack()
    home.enter_context(at_home(folder / "home", demo.settings))
    info = mount("demo/data", str(place), demo.settings, options)
    assert info.pid is not None
    began = start_time(info.pid)
    control = control_path(info.pid)
    runtime = os.open(os.path.dirname(control), os.O_PATH | os.O_DIRECTORY)
    requests: list[Request] = [
        StatusRequest(),
        AccessLogRequest(False),
        AnnounceRequest("1 train", "9f", 0, ["a.txt"], last=True),
        JobStateRequest(1),
        ChangesRequest(every=True),
    ]

    def attempt(body: bytes) -> None:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
            client.settimeout(10)
            client.connect(f"/proc/self/fd/{runtime}/{os.path.basename(control)}")  # else it may be too long
            answer = b""
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # it said enough
                client.sendall(body[:1_200_000])
                client.shutdown(socket.SHUT_WR)
            with contextlib.suppress(ConnectionResetError):
                while part := client.recv(65536):
                    answer += part
        assert (place / "a.txt").read_bytes() == b"hello"
        found = decode_message(answer, Answer | RequestRefusal)
        if isinstance(found, RequestRefusal):
            assert "a fault in Penstock" not in found.error.what, found.error
            raise_form(found.error)

    try:
        yield [encode_message(Question(request)) for request in requests], attempt
        assert info.pid in {each.pid for each in list_mounts()}
        assert next(each.restarts for each in list_mounts() if each.pid == info.pid) == 0
    finally:
        detach(str(place), lazy=True)
        if began is not None:
            wait_for_end(info.pid, began, 10)
        os.close(runtime)
        home.close()


TARGETS = (Target("answers", _answers, seconds=5.0, inputs=150), Target("control", _control, "json", inputs=150))
