"""Record a project that DVC itself has made, so that tests need no DVC: ``record.py FOLDER``, by hand.

FOLDER has what a script made with dvc 3.67.1 on the PATH: ``origin.git`` and ``registry`` (repositories), ``store`` and
``registry-store`` (remotes), ``expected-TAG.txt`` (sha256sum of what DVC has checked out), ``v2-style`` (a project of
DVC 2). All of it is text but for one file of zeros, and comes out as text; ``recorded.py`` puts it back.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = "@ROOT@"
HERE = Path(__file__).parent


def git(repository: Path, *arguments: str) -> str:
    return subprocess.run(["git", "-C", repository, *arguments], check=True, capture_output=True, text=True).stdout


def commits(repository: Path, root: str) -> list[dict[str, object]]:
    found: list[dict[str, object]] = []
    listed = git(repository, "log", "--topo-order", "--reverse", "--format=%H %P", "--branches", "--tags")
    for line in listed.splitlines():
        name, *parents = line.split()
        files = {}
        for path in git(repository, "ls-tree", "-r", "-z", "--name-only", name).split("\0")[:-1]:
            files[path] = git(repository, "cat-file", "blob", f"{name}:{path}").replace(root, ROOT)
        pointing = ("--points-at", name, "--format=%(refname)", "refs/heads", "refs/tags")
        refs = git(repository, "for-each-ref", *pointing).split()
        message = git(repository, "show", "-s", "--format=%s", name).strip()
        found.append({"name": name, "parents": parents, "refs": refs, "message": message, "files": files})
    return found


def objects(folder: Path) -> dict[str, object]:
    found: dict[str, object] = {}
    for path in sorted(each for each in folder.rglob("*") if each.is_file()):
        body = path.read_bytes()
        found[str(path.relative_to(folder))] = {"zeros": len(body)} if not body.strip(b"\0") and body else body.decode()
    return found


def main(folder: Path) -> None:
    root = str(folder.resolve())
    expected = {}
    for path in sorted(folder.glob("expected-*.txt")):
        rows = [line.split("  ", 1) for line in path.read_text().splitlines()]
        expected[path.stem.removeprefix("expected-")] = {name: digest for digest, name in rows}
    recorded = {
        "project": commits(folder / "origin.git", root),
        "store": objects(folder / "store"),
        "registry": commits(folder / "registry", root),
        "registry-store": objects(folder / "registry-store"),
        "expected": expected,
        "old": {
            str(path.relative_to(folder / "v2-style")): path.read_text()
            for path in sorted((folder / "v2-style").rglob("*"))
            if path.is_file() and not {".git", "tmp"} & set(path.relative_to(folder / "v2-style").parts)
        },
    }
    (HERE / "recorded.json").write_text(json.dumps(recorded, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    os.environ["GIT_CONFIG_NOSYSTEM"] = "1"
    main(Path(sys.argv[1]))
