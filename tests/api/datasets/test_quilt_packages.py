"""Packages that quilt3 wrote become datasets: what it recorded is what there is, and what it got wrong is told."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

import penstock
from penstock.errors import AccessError, ConflictError, IntegrityError, NotFoundError, UsageError

REGISTRY = Path(__file__).parents[2] / "repo/quilt/registry.json"
FILES = {f"v1/img{number}.png": bytes([number]) * (100 + number) for number in range(5)} | {
    "v1/README.md": b"# Demo\n",
    "v1/empty.bin": b"",
    "v1/large.bin": bytes(range(256)) * (9 * 4096),
    "v3/img9.png": b"nine",
    "v3/README.md": b"# Demo 3\n",
}


@pytest.fixture
def registry(world: Path) -> Path:
    """What quilt3 wrote, and the files that its entries point to: where they lie is no part of its hashes."""
    files = world / "files"
    for key, body in json.loads(REGISTRY.read_text())["objects"].items():
        place = world / "registry" / key
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(body.replace("file:///srv/files/", files.as_uri() + "/"))
        for line in body.splitlines() if "/packages/" in key else ():
            row = json.loads(line)
            for uri in row.get("physical_keys", ()):
                name = uri.removeprefix("file:///srv/files/")
                if uri.startswith("file:///srv/files/"):
                    (files / name).parent.mkdir(parents=True, exist_ok=True)
                    (files / name).write_bytes(FILES.get(name, row["logical_key"].encode()))
    return world / "registry"


@pytest.fixture
def trusted(world: Path, registry: Path) -> Path:
    settings = Path(penstock.Settings.load().config_path)
    settings.write_text(settings.read_text() + f'\n[trust]\nlocal = ["{world / "files"}"]\n')
    return registry


def test_every_revision_is_a_version_with_history_times_messages_and_metadata(trusted: Path, world: Path) -> None:
    full = penstock.Dataset("demo/full")
    done = full.import_quilt(trusted, "team/full")
    assert (done.added, done.present, done.entries) == (4, 0, 32)
    assert done.bytes_read == sum(len(body) for name, body in FILES.items()), "nothing is read twice"
    versions = list(full.log())[::-1]
    assert [each.message for each in versions] == ["first batch", "fix a label", "third: ü", "third again"]
    pointers = sorted(
        int(each.name) for each in (trusted / ".quilt/named_packages/team/full").iterdir() if each.name != "latest"
    )
    assert [int(dt.datetime.fromisoformat(each.time).timestamp()) for each in versions] == pointers
    for version in versions:
        package = penstock.open(f"demo/full:{version.commit}")
        recorded = _recorded(trusted, package.get_metadata()["quilt"]["top_hash"])
        header = {**package.get_metadata()}
        assert header.pop("quilt")["package"] == "team/full"
        assert header == recorded.pop("")
        files = {}
        for entry in package:
            metadata = entry.metadata
            quilt = metadata.pop("quilt", None)
            if entry.is_file():
                assert hashlib.sha256(entry.read()).hexdigest()
                files[entry.key] = (entry.size, quilt["hash"].partition(":")[0], metadata)
            elif metadata:
                files[entry.key + "/"] = metadata
        assert files == recorded
        assert package.verify(deep=True).sound
    assert penstock.open("demo/full")["train/img9.png"].read() == b"nine"
    assert penstock.open("demo/full")["train/img9.png"].physical_keys[0].uri.startswith("file://")


def _recorded(registry: Path, top_hash: str) -> dict[str, Any]:
    lines = map(json.loads, (registry / ".quilt/packages" / top_hash).read_text().splitlines())
    found: dict[str, Any] = {"": next(lines).get("user_meta") or {}}
    for row in lines:
        if row.get("physical_keys"):
            found[row["logical_key"]] = (row["size"], row["hash"]["type"], row["meta"].get("user_meta") or {})
        else:
            found[row["logical_key"]] = row["meta"]
    return found


def test_hurtful_keys_and_empty_packages_come_through(trusted: Path) -> None:
    keys = penstock.Dataset("demo/keys")
    assert keys.import_quilt(trusted, "team/keys").added == 1
    package = penstock.open("demo/keys")
    files = [entry for entry in package if entry.is_file()]
    assert len(files) == 17
    assert all(entry.read().decode() == entry.metadata["key"] == entry.key for entry in files)
    assert penstock.Dataset("demo/empty").import_quilt(trusted, "team/empty").added == 1
    assert len(penstock.open("demo/empty")) == 0


def test_again_it_adds_what_is_new_and_never_covers_what_others_did(trusted: Path, world: Path) -> None:
    full = penstock.Dataset("demo/full")
    pointers = trusted / ".quilt/named_packages/team/full"
    times = sorted(each.name for each in pointers.iterdir() if each.name != "latest")
    later = {name: (pointers / name).read_text() for name in times[2:]}
    for name in later:
        (pointers / name).unlink()
    (pointers / "latest").write_text((pointers / times[1]).read_text())
    assert full.import_quilt(trusted, "team/full").added == 2
    again = full.import_quilt(trusted, "team/full")
    assert (again.added, again.present, again.bytes_read) == (0, 2, 0)
    assert len(list(full.log())) == 2
    (pointers / times[2]).write_text(later[times[2]])
    assert full.import_quilt(trusted, "team/full").added == 1
    full.set_meta("", {"mine": 1})
    assert full.import_quilt(trusted, "team/full").added == 0
    (pointers / times[3]).write_text(later[times[3]])
    with pytest.raises(ConflictError, match="not of the quilt package"):
        full.import_quilt(trusted, "team/full")
    assert penstock.open("demo/full").get_metadata() == {"mine": 1}


def test_pointers_become_tags_and_a_latest_that_is_older_a_branch(trusted: Path) -> None:
    pointers = trusted / ".quilt/named_packages/team/full"
    times = sorted(each.name for each in pointers.iterdir() if each.name != "latest")
    (pointers / "latest").write_text((pointers / times[0]).read_text())
    (pointers / "golden").write_text((pointers / times[1]).read_text())
    full = penstock.Dataset("demo/full")
    for _ in range(2):
        assert sorted(full.import_quilt(trusted, "team/full").tags) == ["golden", "latest"]
        assert penstock.Package("demo/full", tag="golden").revision().message == "fix a label"
        assert penstock.open("demo/full:latest").revision().message == "first batch"
        assert penstock.open("demo/full").revision().message == "third again"


def test_files_are_read_only_where_the_settings_trust_their_folder(registry: Path) -> None:
    with pytest.raises(AccessError, match="README") as raised:
        penstock.Dataset("demo/full").import_quilt(registry, "team/full")
    assert "[trust]" in raised.value.fix
    with pytest.raises(NotFoundError):
        penstock.open("demo/full")


def test_what_was_overwritten_or_is_gone_or_torn_is_named(trusted: Path, world: Path) -> None:
    full = penstock.Dataset("demo/full")
    image = world / "files/v1/img2.png"
    body = image.read_bytes()
    image.write_bytes(body[:-1] + b"x")
    with pytest.raises(IntegrityError, match="train/img2"):
        full.import_quilt(trusted, "team/full")
    image.write_bytes(body[:-1])
    with pytest.raises(IntegrityError, match="train/img2"):
        full.import_quilt(trusted, "team/full")
    image.unlink()
    with pytest.raises(NotFoundError, match="train/img2"):
        full.import_quilt(trusted, "team/full")
    image.write_bytes(body)
    newest = (trusted / ".quilt/named_packages/team/full/latest").read_text()
    manifest = trusted / ".quilt/packages" / newest
    manifest.write_bytes(manifest.read_bytes()[:-200])
    with pytest.raises(IntegrityError):
        full.import_quilt(trusted, "team/full")
    assert [each.message for each in full.log()] == ["third: ü", "fix a label", "first batch"]


def test_the_package_has_to_be_said_where_there_are_several(trusted: Path, world: Path) -> None:
    with pytest.raises(UsageError, match="4 quilt packages"):
        penstock.Dataset("demo/full").import_quilt(trusted)
    with pytest.raises(NotFoundError):
        penstock.Dataset("demo/full").import_quilt(trusted, "team/ful")
    with pytest.raises(NotFoundError):
        penstock.Dataset("demo/full").import_quilt(world / "photos")
