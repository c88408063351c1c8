"""A git repository whose file declares a dataset, driven by the real git; and what its work tree shows."""

from __future__ import annotations

import hashlib
import os
import re
import sqlite3
import subprocess
import sys
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

__all__ = ["DatasetRepository", "Shown", "environment", "new_repository"]


@dataclass(frozen=True)
class Shown:
    """What a work tree shows: a hash of its folders with all contents, a dump of its database, the top hashes."""

    folders: str
    database: str
    top_hashes: str


def environment(home: Path) -> dict[str, str]:
    """Return the environment of a user with this home: his git, his Penstock, nothing of this machine."""
    foreign = ("AWS_", "PENSTOCK_", "XDG_", "GIT_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
    return {
        **kept,
        "HOME": str(home),
        "XDG_CONFIG_HOME": str(home / "config"),
        "XDG_STATE_HOME": str(home / "state"),
        "XDG_CACHE_HOME": str(home / "cache"),
        "PENSTOCK_CACHE_DIR": str(home / "blocks"),
        "GIT_CONFIG_NOSYSTEM": "1",
        "AWS_EC2_METADATA_DISABLED": "true",
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    }


@dataclass(frozen=True)
class DatasetRepository:
    """A work tree and the environment that its commands run in."""

    root: Path
    env: dict[str, str]

    def run(self, *command: str, fails: bool = False) -> str:
        """Run a command in the work tree; return all that it said."""
        done = subprocess.run(
            command,
            cwd=self.root,
            env=self.env,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        assert (done.returncode != 0) is fails, f"{command}: {done.returncode}\n{done.stdout}"
        return done.stdout

    def git(self, *arguments: str, fails: bool = False) -> str:
        """Run git."""
        return self.run("git", *arguments, fails=fails)

    def datasets(self, *arguments: str, fails: bool = False) -> str:
        """Run ``git datasets``, as git would find it."""
        return self.run(sys.executable, "-m", "penstock.cli.declared.git_datasets", *arguments, fails=fails)

    def write(self, text: str, name: str = "index.py") -> None:
        """Write the file."""
        (self.root / name).write_text(text)

    def commit(self, text: str, *, fails: bool = False) -> str:
        """Write the file and commit it."""
        self.write(text)
        return self.git("commit", "-q", "index.py", "-m", "next", fails=fails)

    def head(self) -> str:
        """Return the commit of HEAD."""
        return self.git("rev-parse", "HEAD").strip()

    def names(self, folder: str) -> list[str]:
        """Return the names in a folder."""
        place = self.root / folder
        return sorted(each.name for each in place.iterdir()) if place.is_dir() else []

    def rows(self, query: str) -> list[tuple[object, ...]]:
        """Ask the database."""
        with closing(sqlite3.connect(f"file:{self.root}/dataset.sqlite?mode=ro", uri=True)) as database:
            return list(database.execute(query))

    def calls(self) -> list[str]:
        """Return what the methods have noted since the last time."""
        place = self.root / "calls"
        found = place.read_text().split() if place.exists() else []
        place.unlink(missing_ok=True)
        return sorted(found)

    def shown(self) -> Shown:
        """Return what the work tree shows now."""
        told = hashlib.sha256()
        for folder in sorted(each for each in self.root.iterdir() if each.is_dir() and not each.name.startswith(".")):
            told.update(f"{folder.name}/\n".encode())
            for each in sorted(folder.iterdir()):
                told.update(f"{each.name} {hashlib.sha256(each.read_bytes()).hexdigest()}\n".encode())
        dump = ""
        if (self.root / "dataset.sqlite").exists():
            with closing(sqlite3.connect(self.root / "dataset.sqlite")) as database:
                dump = "\n".join(database.iterdump())
        notes = self.git("log", "--first-parent", "--format=%N", "--notes=refs/notes/penstock").split("\n}")
        top_hashes = re.findall(r'"top_hash": "(\w+)"', notes[0])
        return Shown(told.hexdigest(), dump, " ".join(top_hashes))


def new_repository(root: Path, home: Path) -> DatasetRepository:
    """Make an empty repository of a user with this home."""
    home.mkdir(exist_ok=True)
    root.mkdir()
    repository = DatasetRepository(root, environment(home))
    repository.git("init", "-q", "-b", "main")
    for name, value in (("user.name", "Ada"), ("user.email", "ada@example.com"), ("commit.gpgsign", "false")):
        repository.git("config", "--global", name, value)
    return repository
