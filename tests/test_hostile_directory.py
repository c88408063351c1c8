"""Where somebody stands in a data set, its files are files, and no modules of the programs that are started there."""

from __future__ import annotations

import io
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from penstock.catalogue.rows.probe import Prober
from penstock.project.hooks.dispatcher import HookPart, install_part
from penstock.project.project import init_project
from penstock.repo.similarity.picture_messages import DecodedPicture, HashTask
from penstock.repo.similarity.picture_processes import PictureProcesses


@pytest.fixture
def trap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Stand in a directory with modules that leave a mark when they are run; return where."""
    directory, mark = tmp_path / "data", tmp_path / "mark"
    directory.mkdir()
    for name in ("click", "lmdb", "msgspec", "PIL", "penstock", "random"):
        (directory / f"{name}.py").write_text(f"open({str(mark)!r}, 'w').close()\n")
    monkeypatch.chdir(directory)
    return mark


def picture() -> bytes:
    body = io.BytesIO()
    image = Image.new("RGB", (40, 30), "red")
    image.paste("blue", (5, 5, 20, 20))
    image.save(body, "PNG")
    return body.getvalue()


def test_pictures_are_decoded_by_libraries_that_are_installed(trap: Path) -> None:
    with PictureProcesses() as processes:
        assert isinstance(processes.ask(HashTask(picture())), DecodedPicture)
    assert not trap.exists()


def test_files_are_looked_into_by_libraries_that_are_installed(trap: Path) -> None:
    body = picture()
    fetch: Callable[[int, int], bytes] = lambda offset, length: body[offset : offset + length]  # noqa: E731
    with Prober() as prober:
        facts = prober.probe(len(body), fetch)
    assert (facts.width, facts.height) == (40, 30)  # type: ignore[union-attr]
    assert not trap.exists()


def test_hooks_of_git_run_the_penstock_that_is_installed(trap: Path) -> None:
    subprocess.run(["git", "init", "-q"], check=True)
    subprocess.run(
        ["git", "-c", "user.name=x", "-c", "user.email=x@x", "commit", "-q", "--allow-empty", "-m", "x"], check=True
    )
    project, _ = init_project(".")
    install_part(project, HookPart("say", {"post-checkout": "penstock --version > ../said\n"}))
    subprocess.run(["git", "checkout", "-q", "-b", "other"], check=True)
    assert "penstock" in (trap.parent / "said").read_text()
    assert not trap.exists()
