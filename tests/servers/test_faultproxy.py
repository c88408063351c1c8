"""The fault proxy: it changes nothing until told to, and each fault does what it says."""

from __future__ import annotations

import http.client
import socket
import threading
import time

import pytest
from servers.faultproxy import (
    FaultProxy,
    FlipByte,
    FlipRequestByte,
    Reset,
    Stall,
    Status,
    Trickle,
    Truncate,
)
from servers.rgw import Answer, RadosGateway
from servers.sigv4 import sign

pytestmark = pytest.mark.s3

BODY = bytes(range(256)) * 400  # 102,400 bytes: several reads of a stream


class Client:
    """One keep-alive connection to the gateway by way of the proxy, signing as the owner."""

    def __init__(self, gateway: RadosGateway, proxy: FaultProxy) -> None:
        self._gateway = gateway
        self._endpoint = proxy.endpoint
        self.connection = http.client.HTTPConnection("127.0.0.1", proxy.port, timeout=20)

    def send(self, method: str, path: str, body: bytes = b"", **headers: str) -> Answer:
        response = self.start(method, path, body, **headers)
        fields = {name.lower(): value for name, value in response.getheaders()}
        return Answer(response.status, fields, response.read())

    def start(self, method: str, path: str, body: bytes = b"", **headers: str) -> http.client.HTTPResponse:
        signed = sign(
            method,
            self._endpoint + path,
            body,
            access_key=self._gateway.access_key,
            secret_key=self._gateway.secret_key,
            headers={name.replace("_", "-"): value for name, value in headers.items()},
        )
        self.connection.request(method, path, body=body, headers=signed)
        return self.connection.getresponse()


@pytest.fixture
def client(gateway, fault_proxy):
    made = Client(gateway, fault_proxy)
    yield made
    made.connection.close()


@pytest.fixture
def stored(gateway, bucket):
    """The path of an object of 102,400 bytes, put past the proxy."""
    path = f"/{bucket}/object"
    assert gateway.request("PUT", path, BODY).status == 200
    return path


def is_get(method, path):
    return method == "GET"


class TestPassingThrough:
    def test_requests_are_seen_and_a_connection_is_kept(self, fault_proxy, client, bucket):
        path = f"/{bucket}/kept"
        assert client.send("PUT", path, BODY).status == 200
        first = client.connection.sock
        assert client.send("GET", path).body == BODY
        assert client.send("HEAD", path).headers["content-length"] == str(len(BODY))
        assert client.send("GET", path, Range="bytes=5-6").body == BODY[5:7]
        assert client.send("DELETE", path).status == 204
        assert client.send("GET", path).status == 404
        assert client.connection.sock is first
        seen = [(request.method, request.path, request.body_length) for request in fault_proxy.requests]
        assert seen[:2] == [("PUT", path, len(BODY)), ("GET", path, 0)]
        assert [method for method, _, _ in seen] == ["PUT", "GET", "HEAD", "GET", "DELETE", "GET"]
        assert fault_proxy.requests[3].headers["range"] == "bytes=5-6"
        assert fault_proxy.count("GET") == 3

    def test_chunked_answers(self, client, stored):
        listing = client.send("GET", stored.rsplit("/", 1)[0] + "?list-type=2")
        assert listing.headers["transfer-encoding"] == "chunked"
        assert b"<Key>object</Key>" in listing.body
        assert client.send("GET", stored).body == BODY

    def test_chunked_requests(self, fault_proxy):
        received = []
        server = OneAnswer(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", received)
        with server, FaultProxy(f"127.0.0.1:{server.port}") as proxy:
            connection = http.client.HTTPConnection("127.0.0.1", proxy.port, timeout=20)
            connection.request("PUT", "/x", body=iter([b"abc", b"defg"]), encode_chunked=True)
            assert connection.getresponse().read() == b"ok"
            connection.close()
            assert proxy.requests[0].body_length == 7
        assert received[0].endswith(b"3\r\nabc\r\n4\r\ndefg\r\n0\r\n\r\n")

    def test_hundred_continue(self, gateway, fault_proxy, bucket):
        path = f"/{bucket}/expected"
        signed = sign(
            "PUT",
            fault_proxy.endpoint + path,
            b"hello",
            access_key=gateway.access_key,
            secret_key=gateway.secret_key,
            headers={"Content-Length": "5", "Expect": "100-continue"},
        )
        head = f"PUT {path} HTTP/1.1\r\n" + "".join(f"{name}: {value}\r\n" for name, value in signed.items())
        with socket.create_connection(("127.0.0.1", fault_proxy.port), timeout=20) as raw:
            raw.sendall(head.encode() + b"\r\n")
            assert raw.recv(1000).startswith(b"HTTP/1.1 100")
            raw.sendall(b"hello")
            assert raw.recv(1000).startswith(b"HTTP/1.1 200")
        assert gateway.request("GET", path).body == b"hello"

    def test_eight_threads_at_once(self, gateway, fault_proxy, stored):
        right = []

        def read_often():
            bodies = [gateway.request("GET", stored, endpoint=fault_proxy.endpoint).body for _ in range(10)]
            right.append(bodies == [BODY] * 10)

        readers = [threading.Thread(target=read_often) for _ in range(8)]
        for reader in readers:
            reader.start()
        for reader in readers:
            reader.join()
        assert right == [True] * 8
        assert fault_proxy.count("GET") == 80


class TestFaults:
    def test_status_is_answered_as_often_as_armed(self, fault_proxy, client, stored):
        armed = fault_proxy.fail(match=is_get, fault=Status(503), times=2)
        for _ in range(2):
            answer = client.send("GET", stored)
            assert answer.status == 503
            assert b"<Code>SlowDown</Code>" in answer.body
        assert client.send("GET", stored).body == BODY
        assert armed.struck == 2

    def test_status_takes_the_body_of_a_put_and_stores_nothing(self, gateway, fault_proxy, client, bucket):
        path = f"/{bucket}/refused"
        fault_proxy.fail(fault=Status(500, b"no"))
        assert client.send("PUT", path, BODY).body == b"no"
        assert fault_proxy.requests[-1].body_length == len(BODY)
        assert gateway.request("HEAD", path).status == 404
        assert client.send("PUT", path, BODY).status == 200

    def test_only_what_matches_is_struck(self, fault_proxy, client, stored):
        fault_proxy.fail(match=lambda method, path: path.endswith("/other"), fault=Status(500))
        assert client.send("GET", stored).status == 200
        assert client.send("GET", stored.replace("object", "other")).status == 500

    def test_faults_strike_in_the_order_of_arming_until_healed(self, fault_proxy, client, stored):
        for code in (500, 502, 503):
            fault_proxy.fail(fault=Status(code))
        assert [client.send("GET", stored).status for _ in range(2)] == [500, 502]
        fault_proxy.heal()
        assert client.send("GET", stored).status == 200

    def test_a_client_that_leaves_amid_its_body_leaves_nothing(self, gateway, fault_proxy, bucket):
        path = f"/{bucket}/half"
        signed = sign(
            "PUT",
            fault_proxy.endpoint + path,
            BODY,
            access_key=gateway.access_key,
            secret_key=gateway.secret_key,
            headers={"Content-Length": str(len(BODY))},
        )
        head = f"PUT {path} HTTP/1.1\r\n" + "".join(f"{name}: {value}\r\n" for name, value in signed.items())
        with socket.create_connection(("127.0.0.1", fault_proxy.port), timeout=20) as raw:
            raw.sendall(head.encode() + b"\r\n" + BODY[:1000])
            raw.shutdown(socket.SHUT_WR)
            with pytest.raises(ConnectionResetError):
                raw.recv(1000)
        assert fault_proxy.requests[0].body_length == 1000
        assert gateway.request("HEAD", path).status == 404

    def test_reset_before_the_server_saw_it(self, gateway, fault_proxy, client, bucket):
        path = f"/{bucket}/never"
        fault_proxy.fail(fault=Reset())
        with pytest.raises((ConnectionResetError, BrokenPipeError)):
            client.send("PUT", path, b"x")
        assert gateway.request("HEAD", path).status == 404

    def test_reset_after_the_server_did_it(self, gateway, fault_proxy, client, bucket):
        path = f"/{bucket}/landed"
        fault_proxy.fail(fault=Reset(after_forward=True))
        with pytest.raises(ConnectionResetError):
            client.send("PUT", path, b"x", If_None_Match="*")
        assert gateway.request("GET", path).body == b"x"

    def test_stall_holds_the_answer(self, fault_proxy, client, stored):
        fault_proxy.fail(fault=Stall(0.3))
        began = time.monotonic()
        assert client.send("GET", stored).body == BODY
        assert time.monotonic() - began >= 0.3

    def test_stall_in_the_middle_of_a_body(self, fault_proxy, client, stored):
        fault_proxy.fail(fault=Stall(3600, after_bytes=1000))
        client.connection.timeout = 0.3
        response = client.start("GET", stored)
        assert response.read(1000) == BODY[:1000]
        with pytest.raises(TimeoutError):
            response.read(1)

    def test_a_stalled_proxy_closes_at_once(self, gateway, stored):
        with FaultProxy(f"127.0.0.1:{gateway.port}") as proxy:
            proxy.fail(fault=Stall(3600))
            client = Client(gateway, proxy)
            client.connection.timeout = 0.2
            with pytest.raises(TimeoutError):
                client.send("GET", stored)
            client.connection.close()
            began = time.monotonic()
        assert time.monotonic() - began < 5

    @pytest.mark.parametrize("kept", [0, 1000, 70000])
    def test_truncate(self, fault_proxy, client, stored, kept):
        fault_proxy.fail(fault=Truncate(kept))
        response = client.start("GET", stored)
        assert response.getheader("content-length") == str(len(BODY))
        with pytest.raises(http.client.IncompleteRead) as caught:
            response.read()
        assert caught.value.partial == BODY[:kept]

    @pytest.mark.parametrize("offset", [0, 70000, len(BODY) - 1])
    def test_flip_byte(self, fault_proxy, client, stored, offset):
        fault_proxy.fail(fault=FlipByte(offset))
        got = client.send("GET", stored).body
        assert [at for at in range(len(BODY)) if got[at] != BODY[at]] == [offset]
        assert client.send("GET", stored).body == BODY

    def test_flip_request_byte_is_stored_or_caught_by_the_server(self, fault_proxy, client, bucket):
        path = f"/{bucket}/flipped"
        fault_proxy.fail(fault=FlipRequestByte(3))
        # The signature covers the body's SHA-256, so this server sees it.
        assert client.send("PUT", path, BODY).status in (400, 403)
        received = []
        server = OneAnswer(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", received)
        with server, FaultProxy(f"127.0.0.1:{server.port}") as proxy:
            proxy.fail(fault=FlipRequestByte(3))
            connection = http.client.HTTPConnection("127.0.0.1", proxy.port, timeout=20)
            connection.request("PUT", "/x", body=b"\0" * 6)
            assert connection.getresponse().status == 200
            connection.close()
        assert received[0].endswith(b"\r\n\r\n\0\0\0\xff\0\0")

    def test_trickle(self, fault_proxy, client, stored):
        fault_proxy.fail(fault=Trickle(bytes_per_second=len(BODY) / 0.4))
        began = time.monotonic()
        assert client.send("GET", stored).body == BODY
        assert 0.4 <= time.monotonic() - began < 10

    def test_down_refuses_and_cuts_and_up_serves_again(self, fault_proxy, client, stored):
        assert client.send("GET", stored).body == BODY
        fault_proxy.down()
        with pytest.raises((ConnectionResetError, http.client.RemoteDisconnected, BrokenPipeError)):
            client.send("GET", stored)
        client.connection.close()
        with pytest.raises(ConnectionRefusedError):
            client.send("GET", stored)
        client.connection.close()
        fault_proxy.up()
        assert client.send("GET", stored).body == BODY


class OneAnswer:
    """A server that takes one request, as bytes until a quarter of a second of silence, and gives one answer."""

    def __init__(self, answer, received):
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        self._answer, self._received = answer, received
        self._thread = threading.Thread(target=self._serve)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._thread.join()
        self._socket.close()

    def _serve(self):
        connection, _ = self._socket.accept()
        with connection:
            connection.settimeout(0.25)
            got = b""
            try:
                while data := connection.recv(65536):
                    got += data
            except TimeoutError:
                pass
            self._received.append(got)
            connection.sendall(self._answer)
