"""``penstock push``, ``hash`` and ``init``: what they say, in text and JSON, and how they end."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from servers.faultproxy import FaultProxy
from servers.faults import Stall

from penstock.repo.push import file_reader

Run = Callable[..., Result]


@pytest.fixture(autouse=True)
def small_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PENSTOCK_CACHE_SIZE", "256MB")
    monkeypatch.setenv("PENSTOCK_AUTHOR", "Tester <t@example.org>")


@pytest.fixture
def bucket_url(tmp_path: Path) -> str:
    return f"file://{tmp_path}/store"


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    (folder / "sub").mkdir(parents=True)
    (folder / "a").write_bytes(b"first")
    (folder / "sub" / "b").write_bytes(b"second")
    (folder / "link").symlink_to("a")
    return folder


def as_json(result: Result) -> Any:
    assert result.exit_code == 0, result.stderr
    return json.loads(result.stdout)


def test_text(run: Run, photos: Path, bucket_url: str) -> None:
    result = run("push", str(photos), f"{bucket_url}/photos", "-m", "first batch", "--tag", "v1")
    top_hash = run("hash", str(photos)).stdout.strip()
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert lines[0] == f"{bucket_url}/photos:main and tag v1"
    assert lines[1] == f"  top hash  {top_hash}"
    assert len(lines[2].split()[1]) == 64
    assert lines[3] == "  content   2 files, 11 B"
    assert lines[4].startswith("  uploaded  11 B of data, ")
    again = run("push", str(photos), f"{bucket_url}/photos:main").stdout
    assert "no change" in again
    assert "nothing of data, 0 B of metadata" in again


def test_json(run: Run, photos: Path, bucket_url: str) -> None:
    os.mkfifo(photos / "pipe")
    answer = as_json(run("push", str(photos), f"{bucket_url}/photos:topic", "--json"))
    assert answer == {
        "handle": f"{bucket_url}/photos:topic",
        "tag": None,
        "top_hash": as_json(run("hash", str(photos), "--json"))["top_hash"],
        "commit": answer["commit"],
        "changed": True,
        "files": 2,
        "bytes": 11,
        "bytes_uploaded": 11,
        "objects_uploaded": 1,
        "metadata_bytes_uploaded": answer["metadata_bytes_uploaded"],
        "metadata_objects_uploaded": 1,
        "skipped": [{"path": f"{photos}/pipe", "what": "named pipe"}],
        "unpinned": 0,
        "unversioned": 0,
        "allowed_folder": None,
        "risk": None,
        "unreadable": [],
        "notes": [],
    }
    again = as_json(run("push", str(photos), f"{bucket_url}/photos:topic", "--json"))
    assert (again["changed"], again["commit"], again["bytes_uploaded"]) == (False, None, 0)
    info = as_json(run("info", f"{bucket_url}/photos:topic", "--json"))
    assert (info["commit"], info["author"]) == (answer["commit"], "Tester <t@example.org>")


def test_what_is_skipped_is_told(run: Run, photos: Path, bucket_url: str) -> None:
    for number in range(25):
        os.mkfifo(photos / f"pipe{number:02d}\n")
    result = run("push", str(photos), f"{bucket_url}/photos")
    lines = result.stderr.splitlines()
    assert lines[0] == f"penstock: skipped {photos}/pipe00\\n: a named pipe is no file"
    assert lines[20] == "penstock: skipped 5 more"
    assert run("hash", str(photos)).stderr.splitlines() == lines


def test_hash(run: Run, photos: Path) -> None:
    answer = as_json(run("hash", str(photos), "--json"))
    assert answer == {"top_hash": answer["top_hash"], "files": 2, "bytes": 11, "skipped": []}
    assert len(bytes.fromhex(answer["top_hash"])) == 32
    (photos / "a").write_bytes(b"other")
    assert as_json(run("hash", str(photos), "--json"))["top_hash"] != answer["top_hash"]


def test_a_remote_by_name(run: Run, photos: Path, tmp_path: Path) -> None:
    assert run("remote", "add", "demo", str(tmp_path / "store")).exit_code == 0
    assert run("push", str(photos), "demo/photos").exit_code == 0
    assert run("ls", "demo/photos").stdout == "a\nlink\nsub/\n"


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["push", "{photos}", "no handle"], 2, "no handle"),
        (["push", "{photos}", "{bucket}/"], 3, "names a bucket"),
        (["push", "{photos}", "{bucket}/photos:main/sub"], 2, "cannot push into"),
        (["push", "{photos}", "{bucket}/photos:a..b"], 2, "ref name"),
        (["push", "{photos}", "{bucket}/pho\ntos"], 2, "dataset name"),
        (["push", "{photos}", "{bucket}/photos", "--tag", "-x"], 2, "ref name"),
        (["push", "{photos}", "{bucket}/photos", "--tag", "main"], 2, "is a branch"),
        (["push", "{photos}", "{bucket}/photos:" + "a" * 64], 2, "cannot name a branch"),
        (["push", "{photos}", "{bucket}/photos", "-m", "\udcff"], 2, "message is not UTF-8"),
        (["push", "{photos}", "{bucket}/photos", "--author", "\udcff"], 2, "author is not UTF-8"),
        (["push", "{photos}/a", "{bucket}/photos"], 2, "not a directory"),
        (["push", "{photos}/none", "{bucket}/photos"], 3, "no directory"),
        (["push", "{photos}", "file://relative/photos"], 2, "not absolute"),
        (["push", "{photos}", "gs://bucket/photos"], 2, "unknown address"),
        (["hash", "{photos}/none"], 3, "no directory"),
        (["hash", "{photos}/a"], 2, "not a directory"),
        (["create", "{bucket}/"], 3, "names a bucket"),
        (["create", "{bucket}/photos:dev"], 2, "begins as a whole"),
        (["create", "{bucket}/photos", "--title", "\udcff"], 2, "title is not UTF-8"),
    ],
)
def test_bad_input(run: Run, photos: Path, bucket_url: str, arguments: list[str], code: int, words: str) -> None:
    filled = [each.replace("{photos}", str(photos)).replace("{bucket}", bucket_url) for each in arguments]
    result = run(*filled)
    assert (result.exit_code, result.stdout) == (code, "")
    assert words in result.stderr
    error = json.loads(run(*filled, "--json").stderr)["error"]
    assert words in error["what"] + error["why"]
    assert not Path(bucket_url.removeprefix("file://")).exists()


def test_a_file_that_changes(run: Run, photos: Path, bucket_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    genuine = os.read

    def read(descriptor: int, length: int) -> bytes:
        data = genuine(descriptor, length)
        with open(photos / "a", "ab") as file:
            file.write(b"+")
        return data

    with monkeypatch.context() as patched:
        patched.setattr(file_reader.os, "read", read)
        result = run("push", str(photos), f"{bucket_url}/photos")
    assert result.exit_code == 4
    assert f"{photos}/a" in result.stderr
    assert "changed while it was being read" in result.stderr
    assert run("ls", f"{bucket_url}/photos").exit_code == 3


def test_a_tag_that_is_taken(run: Run, photos: Path, bucket_url: str) -> None:
    run("push", str(photos), f"{bucket_url}/photos", "--tag", "v1")
    (photos / "a").write_bytes(b"other")
    result = run("push", str(photos), f"{bucket_url}/photos", "--tag", "v1")
    assert (result.exit_code, result.stdout) == (4, "")
    assert "tags never move" in result.stderr


def test_a_bad_ignore_file(run: Run, photos: Path, bucket_url: str) -> None:
    (photos / ".penstockignore").write_text("!\n")
    result = run("push", str(photos), f"{bucket_url}/photos")
    assert result.exit_code == 2
    assert f"{photos}/.penstockignore" in result.stderr


def test_a_store_that_cannot_be_written(run: Run, photos: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    assert run("push", str(photos), f"file://{tmp_path}/file/photos").exit_code == 2
    assert run("push", str(photos), "file:///proc/photos").exit_code in (2, 3, 6)


def test_init(run: Run, photos: Path, bucket_url: str) -> None:
    text = run("create", f"{bucket_url}/photos", "--title", "Photos", "--description", "Of all sites")
    assert text.stdout.splitlines()[0] == f"{bucket_url}/photos:main is there, and empty"
    info = as_json(run("info", f"{bucket_url}/photos", "--json"))
    assert (info["title"], info["description"], info["entries"], info["bytes"]) == ("Photos", "Of all sites", 0, 0)
    assert run("ls", f"{bucket_url}/photos").stdout == ""
    assert run("create", f"{bucket_url}/photos").exit_code == 4
    other = as_json(run("create", f"{bucket_url}/others", "--json"))
    assert other["top_hash"] == info["top_hash"]  # there is one empty version
    assert other["handle"] == f"{bucket_url}/others:main"
    pushed = as_json(run("push", str(photos), f"{bucket_url}/photos", "--json"))
    assert as_json(run("info", f"{bucket_url}/photos", "--json"))["parents"] == [info["commit"]]
    assert pushed["changed"]


# As a real process


def test_progress_on_a_terminal(photos: Path, bucket_url: str) -> None:
    with open(photos / "large", "wb") as file:
        file.truncate(64 << 20)
    primary, secondary = pty.openpty()
    shown: list[bytes] = []

    def watch() -> None:
        try:
            while read := os.read(primary, 65536):
                shown.append(read)
        except OSError:  # EIO: the other side is closed
            return

    thread = threading.Thread(target=watch)
    thread.start()
    done = subprocess.run(
        [sys.executable, "-m", "penstock", "push", str(photos), f"{bucket_url}/photos"],
        stdout=subprocess.PIPE,
        stderr=secondary,
        env={**os.environ, "TERM": "xterm", "COLUMNS": "100"},
        check=False,
    )
    os.close(secondary)
    thread.join(60)
    os.close(primary)
    text = b"".join(shown).decode()
    assert done.returncode == 0
    assert b"top hash" in done.stdout
    assert "reading" in text
    assert "uploading" in text
    assert "top hash" not in text


@pytest.mark.s3
def test_interrupted(
    photos: Path, bucket: str, fault_proxy: FaultProxy, aws_environment: dict[str, str], run: Run
) -> None:
    """Ctrl-C ends a push soon, whatever its uploads wait for, and nothing is published."""
    fault_proxy.fail(fault=Stall(120.0), match=lambda method, path: method == "PUT" and "/data/" in path, times=100)
    process = subprocess.Popen(
        [sys.executable, "-m", "penstock", "push", str(photos), f"{bucket}/photos"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "AWS_ENDPOINT_URL": fault_proxy.endpoint},
    )
    deadline = threading.Event()
    for _ in range(600):
        if fault_proxy.count("PUT", lambda method, path: "/data/" in path):
            break
        assert process.poll() is None
        deadline.wait(0.1)
    process.send_signal(signal.SIGINT)
    stdout, stderr = process.communicate(timeout=30)
    assert (process.returncode, stdout, stderr) == (130, "", "penstock: interrupted\n")
    assert run("ls", f"{bucket}/photos").exit_code == 3
    fault_proxy.heal()
    assert run("push", str(photos), f"{bucket}/photos").exit_code == 0


@pytest.mark.s3
def test_nothing_set_but_the_aws_variables(
    photos: Path, bucket: str, aws_environment: dict[str, str], run_process: Callable[..., Any]
) -> None:
    pushed = run_process("push", str(photos), f"{bucket}/photos", "--json")
    assert (pushed.returncode, pushed.stderr) == (0, "")
    assert run_process("ls", f"{bucket}/photos:main/sub").stdout == "b\n"
    assert run_process("cat", f"{bucket}/photos/a").stdout == "first"
    assert run_process("ls", bucket).stdout == "photos\n"
    again = json.loads(run_process("push", str(photos), f"{bucket}/photos", "--json").stdout)
    assert (again["changed"], again["bytes_uploaded"], again["metadata_bytes_uploaded"]) == (False, 0, 0)


def test_a_workspace_is_told_by_show(run: Run, photos: Path, bucket_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PENSTOCK_CONTAINER_IMAGE", "lab/train:7")
    pushed = run("push", str(photos), f"{bucket_url}/runs", "--tag", "t", "--workspace")
    assert "there is no README at the top" in pushed.stderr
    shown = run("show", f"{bucket_url}/runs:t").stdout
    assert "container_image lab/train:7" in shown
    assert "\nPackages:\n    " in shown
    assert f"    pytest=={pytest.__version__}\n" in shown
    environment = as_json(run("show", f"{bucket_url}/runs:t", "--json"))["environment"]
    assert environment["container_image"] == "lab/train:7"
    refused = run("push", "--in-place", str(photos), f"{bucket_url}/runs", "--workspace")
    assert refused.exit_code == 2
    assert "--workspace does not go with --in-place" in refused.stderr
