"""The project that DVC made, put back from its record (``record.py``): repositories, remotes, what is expected."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

RECORDED = json.loads((Path(__file__).parent / "recorded.json").read_text())
EXPECTED: dict[str, dict[str, str]] = RECORDED["expected"]
IDENTITY = {
    "GIT_AUTHOR_NAME": "A",
    "GIT_AUTHOR_EMAIL": "a@example.org",
    "GIT_AUTHOR_DATE": "2026-01-02T03:04:05Z",
    "GIT_COMMITTER_NAME": "A",
    "GIT_COMMITTER_EMAIL": "a@example.org",
    "GIT_COMMITTER_DATE": "2026-01-02T03:04:05Z",
}


def _git(directory: Path, *arguments: str) -> str:
    environment = {**os.environ, **IDENTITY}
    done = subprocess.run(
        ["git", "-C", directory, *arguments], check=True, capture_output=True, text=True, env=environment
    )
    return done.stdout.strip()


def _repository(place: Path, commits: list[dict[str, Any]], texts: dict[str, str]) -> None:
    """Make the commits again; `texts` says what stands for what in files, the commits' names among it."""
    place.mkdir(parents=True)
    _git(place, "init", "-q", "-b", "unborn")
    for commit in commits:
        for each in place.iterdir():
            if each.name != ".git":
                shutil.rmtree(each) if each.is_dir() else each.unlink()
        for path, body in commit["files"].items():
            for old, new in texts.items():
                body = body.replace(old, new)
            (place / path).parent.mkdir(parents=True, exist_ok=True)
            (place / path).write_text(body)
        _git(place, "add", "-A", "-f")
        tree = _git(place, "write-tree")
        parents = [word for each in commit["parents"] for word in ("-p", texts[each])]
        made = _git(place, "commit-tree", tree, *parents, "-m", commit["message"])
        texts[commit["name"]] = made
        for ref in commit["refs"]:
            _git(place, "update-ref", ref, made)
    _git(place, "symbolic-ref", "HEAD", "refs/heads/main")
    _git(place, "reset", "-q", "--hard")


def _objects(place: Path, objects: dict[str, Any]) -> None:
    for path, body in objects.items():
        (place / path).parent.mkdir(parents=True, exist_ok=True)
        (place / path).write_bytes(bytes(body["zeros"]) if isinstance(body, dict) else body.encode())


def build(root: Path, replaced: dict[str, str] | None = None) -> Path:
    """Put all of it below a directory, and return the project: a clone, no data of it here.

    `replaced`: what else is to stand in files, for what DVC wrote.
    """
    texts = {"@ROOT@": str(root), **(replaced or {})}
    _repository(root / "registry", RECORDED["registry"], texts)
    _repository(root / "origin", RECORDED["project"], texts)
    _objects(root / "store", RECORDED["store"])
    _objects(root / "registry-store", RECORDED["registry-store"])
    subprocess.run(["git", "clone", "-q", root / "origin", root / "project"], check=True, capture_output=True)
    return root / "project"


def build_old(root: Path) -> Path:
    """Put the project of DVC 2 below a directory, and return it."""
    place = root / "old"
    _objects(place, RECORDED["old"])
    _git(place, "init", "-q")
    return place
