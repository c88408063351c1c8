"""The catalogue on the command line: on a bucket, and behind a server with a key."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result
from servers.catalogue import running
from trees.media import image, video

import penstock
from penstock.catalogue.orm.dataset import DatasetScope

Run = Callable[..., Result]


@pytest.fixture
def demo(run: Run, tmp_path: Path) -> str:
    assert run("remote", "add", "demo", str(tmp_path / "store")).exit_code == 0
    assert run("create", "demo/films", "--title", "Films").exit_code == 0
    return "demo/films"


def lines(result: Result) -> list[dict]:
    assert result.exit_code == 0, result.output
    return [json.loads(line) for line in result.stdout.splitlines()]


def test_rows_are_made_listed_re_encoded_and_deleted(run: Run, demo: str, tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    video(tmp_path / "d" / "a.mp4")
    assert run("push", str(tmp_path / "d"), demo).exit_code == 0
    assert "1 new rows" in run("index", demo).stdout
    assert lines(run("--json", "index", demo))[0]["added"] == 0
    assert [each["title"] for each in lines(run("--json", "list", "demo"))] == ["Films"]
    assert run("upload", demo, str(image(tmp_path / "b.png"))).exit_code == 0
    (clip,) = lines(run("--json", "rows", demo, "--type", "video"))
    (done,) = lines(run("--json", "reencode", demo, clip["uid"], "foreign"))
    made = done["result"]["videos"][0]
    assert (done["status"], made["source"], made["bucket_path"]) == ("DONE", clip["uid"], "demo/films/a.h264.mp4")
    assert run("cat", made["bucket_path"]).exit_code == 0
    (still,) = lines(run("--json", "rows", demo, "--type", "image"))
    failed = run("reencode", demo, still["uid"])
    assert (failed.exit_code, "is no video" in failed.stderr) == (1, True)
    assert [each["status"] for each in lines(run("--json", "job", "list", demo))] == ["ERROR", "DONE"]
    assert "re-encode 1: DONE, 100%" in run("job", "show", demo, "1").stdout
    assert lines(run("--json", "job", "show", demo, "1"))[0]["status"] == "DONE"
    assert run("job", "show", demo, "99").exit_code == 3
    assert lines(run("--json", "job", "cancel", demo, "1")) == [{"cancelled": 1}]
    assert lines(run("--json", "rows", demo, "--delete", clip["uid"], "--delete", "none")) == [
        {"deleted": [clip["uid"]]}
    ]
    assert len(lines(run("--json", "rows", demo))) == 2


def test_data_is_registered_and_what_is_wrong_is_named(run: Run, demo: str, tmp_path: Path, config: Path) -> None:
    (tmp_path / "lab").mkdir()
    video(tmp_path / "lab" / "far.mp4")
    assert run("remote", "add", "lab", str(tmp_path / "lab")).exit_code == 0
    config.write_text(f'{config.read_text()}\n[trust]\nlocal = ["{tmp_path}/lab"]\n')
    spec = {"videos": [{"objectUrl": f"file://{tmp_path}/lab/far.mp4"}, {"objectUrl": "s3://elsewhere/a.mp4"}]}
    (tmp_path / "spec.json").write_text(json.dumps(spec))
    refused = run("register", demo, str(tmp_path / "spec.json"), "--remote", "lab")
    assert (refused.exit_code, "videos[1]: 's3://elsewhere/a.mp4' is not in lab" in refused.stderr) == (1, True)
    (done,) = lines(run("--json", "register", demo, str(tmp_path / "spec.json"), "--remote", "lab", "--ignore-errors"))
    assert (len(done["result"]["added"]), list(done["result"]["errors"])) == (1, ["videos[1]"])
    assert run("register", demo, str(tmp_path / "spec.json"), "--remote", "none").exit_code in (1, 3)


def test_with_a_key_the_same_is_done_behind_a_server(
    run: Run, demo: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with running(tmp_path / "state", "demo", is_trusting=False) as site:
        hash_ = site.context.buckets["demo"].hash_of("films")
        there = f"{site.url}/demo/films"
        assert run("rows", there).exit_code == 6
        monkeypatch.setenv("PENSTOCK_KEY", site.context.keys.create("Bea", list(DatasetScope), hash_).secret)
        (row,) = lines(run("--json", "upload", there, str(video(tmp_path / "a.mp4")), "--title", "A"))
        assert lines(run("--json", "rows", there)) == [row]
        (tmp_path / "notes.txt").write_text("hello")
        (sent,) = lines(run("--json", "upload", there, str(tmp_path / "notes.txt"), "--plain", "-m", "why"))
        assert len(sent["top_hash"]) == 64
        assert next(penstock.Dataset(demo).log()).message == "why"
        assert run("cat", f"{there}/notes.txt").stdout == "hello"
        (done,) = lines(run("--json", "reencode", there, row["uid"]))
        assert done["result"]["videos"][0]["signed_url"].startswith(f"{site.url}/signed/")
        assert len(lines(run("--json", "job", "list", there))) == 3
        assert run("index", there).exit_code == 0
        assert run("upload", demo, str(tmp_path / "notes.txt"), "--plain").exit_code == 0
        assert run("key", "credentials", f"{site.url}/demo").exit_code == 6


def test_a_public_key_is_registered_where_the_state_of_the_server_is(run: Run, demo: str, tmp_path: Path) -> None:
    from cryptography.hazmat.primitives.asymmetric import ed25519
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    public = ed25519.Ed25519PrivateKey.generate().public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)
    (tmp_path / "id.pub").write_bytes(public)
    arguments = ("key", "add-ssh", str(tmp_path / "id.pub"), demo, "--scope", "WRITE", "--state", str(tmp_path / "s"))
    (made,) = lines(run("--json", *arguments))
    assert len(made["fingerprint"]) == 43
    assert made["dataset_hash"]
    (tmp_path / "id.pub").write_text("no key")
    assert run(*arguments).exit_code == 2
