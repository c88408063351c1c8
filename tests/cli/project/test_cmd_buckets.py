"""A registry in a real S3 bucket, and a hostile clone's endpoint, which hears nothing of the user's."""

from __future__ import annotations

import http.server
import threading
from pathlib import Path

import pytest
from views.directories import tree_of, write_tree

from .conftest import run_in


@pytest.mark.s3
def test_a_registry_in_a_bucket_is_pushed_pulled_and_changed_by_what_differs(
    repository_in_bucket, gateway, bucket, aws_environment, tmp_path
):
    path = repository_in_bucket
    files = {f"{number % 7}/{number}": f"file {number}".encode() * 40 for number in range(300)}
    write_tree(path / "raw", files)
    run_in(path, "penstock", "add", "raw")
    run_in(path, "git", "add", "-A")
    run_in(path, "git", "commit", "-q", "-m", "one")
    assert "in 1 object" in run_in(path, "penstock", "push")
    (path / "raw/3/3").write_bytes(b"changed")
    run_in(path, "penstock", "add", "raw")
    assert "7 B of data in 1 object" in run_in(path, "penstock", "push")
    assert "has everything" in run_in(path, "penstock", "push")
    run_in(path, "git", "commit", "-q", "-a", "-m", "two")
    clone = tmp_path / "clone"
    run_in(tmp_path, "git", "clone", "-q", str(path), str(clone))
    assert "penstock trust" in run_in(clone, "penstock", "pull", code=6)  # without the user's credentials: refused
    run_in(clone, "penstock", "trust")
    run_in(clone, "penstock", "pull")
    assert tree_of(clone / "raw") == tree_of(path / "raw")


@pytest.fixture
def repository_in_bucket(tmp_path: Path, gateway, bucket, aws_environment) -> Path:
    path = tmp_path / "registry"
    path.mkdir()
    run_in(path, "git", "init", "-q")
    run_in(path, "penstock", "init")
    options = ("--endpoint-url", gateway.endpoint, "--region", gateway.region, "--addressing-style", "path")
    run_in(path, "penstock", "remote", "add", "-d", "storage", f"s3://{bucket}/registry", *options)
    return path


def test_a_registry_on_another_machine_is_pushed_and_pulled_over_ssh(ssh_server, tmp_path):
    ssh_server.let_in(Path.home())
    path, clone, data = tmp_path / "registry", tmp_path / "clone", tmp_path / "far/away"
    path.mkdir()
    run_in(path, "git", "init", "-q")
    run_in(path, "penstock", "init")
    run_in(path, "penstock", "remote", "add", "-d", "far", ssh_server.address(data))
    write_tree(path / "raw", {f"{number % 3}/{number}": f"file {number}".encode() for number in range(20)})
    run_in(path, "penstock", "add", "raw")
    run_in(path, "git", "add", "-A")
    run_in(path, "git", "commit", "-q", "-m", "one")
    assert "in 1 object" in run_in(path, "penstock", "push")
    assert "has everything" in run_in(path, "penstock", "push")
    run_in(tmp_path, "git", "clone", "-q", str(path), str(clone))
    assert "penstock trust" in run_in(clone, "penstock", "pull", code=6)  # it would log in as the user
    run_in(clone, "penstock", "trust")
    run_in(clone, "penstock", "pull")
    assert tree_of(clone / "raw") == tree_of(path / "raw")
    assert run_in(tmp_path, "penstock", "log", f"{data.as_uri()}/registry")  # the same directory, seen from there


class _Listener(http.server.BaseHTTPRequestHandler):
    heard: list[dict[str, str]]

    def do_GET(self) -> None:
        self.heard.append({name.lower(): value for name, value in self.headers.items()})
        self.send_response(403)
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_HEAD = do_PUT = do_POST = do_GET  # noqa: N815  # as the base class calls them

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def test_a_hostile_clone_gets_no_credentials_and_runs_nothing(tmp_path, monkeypatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDSECRET")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    heard: list[dict[str, str]] = []
    handler = type("Listener", (_Listener,), {"heard": heard})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        path = tmp_path / "hostile"
        path.mkdir()
        run_in(path, "git", "init", "-q")
        endpoint = f"http://127.0.0.1:{server.server_address[1]}"
        (path / "penstock.toml").write_text(
            f'format = 1\ndataset = "x"\nremote = "r"\n[remotes.r]\nurl = "s3://bucket"\nendpoint_url = "{endpoint}"\n'
            'profile = "work"\naddressing_style = "path"\n[remotes.disk]\nurl = "file:///etc"\n'
        )
        (path / "raw.penstock").write_text(
            f'format = 1\nkind = "directory"\ntop = "{"ab" * 32}"\nentries = 1\nbytes = 1\n'
        )
        for command in (("pull",), ("fetch",), ("checkout",), ("push",), ("status",), ("diff",)):
            run_in(path, "penstock", *command, code=None)
        assert not (path / "raw").exists()
    finally:
        server.shutdown()
        server.server_close()
    assert heard
    assert all("authorization" not in headers and "x-amz-security-token" not in headers for headers in heard)
    assert "AKIDSECRET" not in str(heard)
