"""What is typed for Penstock, and for DVC, to do the same; each command timed, with the processor time of it.

DVC has its fastest link type that leaves files writable for nobody else (hard links), no analytics, and hooks as
Penstock has. It lives in a virtual environment of its own, made when it is first asked for.
"""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from world import World

__all__ = ["Dvc", "Penstock", "Took", "copy_tree", "find_dvc", "timed"]

_DVC = "dvc[s3]==3.67.1"
_WHO = {f"GIT_{role}_{what}": "bench@x" for role in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
_EACH = "cp {input} {output} && echo . >> ../calls"
_ALL = """import shutil, pathlib
shutil.rmtree("clean", ignore_errors=True)
for each in sorted(pathlib.Path("inputs").rglob("*")):
    if each.is_file():
        target = pathlib.Path("clean") / each.relative_to("inputs")
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(each, target)
"""


@dataclass(frozen=True)
class Took:
    """Seconds by the clock, and of the processor."""

    wall: float
    cpu: float

    def __add__(self, other: Took) -> Took:
        return Took(self.wall + other.wall, self.cpu + other.cpu)


def timed(work: Callable[[], object]) -> Took:
    """Time something that other processes do, and this one waits for."""
    before, begin = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    work()
    wall, after = time.perf_counter() - begin, resource.getrusage(resource.RUSAGE_CHILDREN)
    return Took(wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)


def find_dvc() -> str | None:
    """Return DVC's program: that of an environment beside our own, installed now if need be.

    PENSTOCK_BENCH_DVC names another; empty, DVC is left out.
    """
    named = os.environ.get("PENSTOCK_BENCH_DVC")
    if named is not None:
        return named or None
    folder = Path(sys.prefix).with_name(Path(sys.prefix).name + "-dvc")
    program = folder / "bin/dvc"
    if not program.exists():
        print(f"installing {_DVC} in {folder}", file=sys.stderr)
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        subprocess.run([folder / "bin/python", "-m", "pip", "install", "-qq", _DVC], check=True)
    return str(program)


class Penstock:
    """A project of Penstock's at `path`, which keeps its data at `remote`."""

    program = "penstock"
    name = "ours"

    def __init__(self, world: World, path: Path, remote: str) -> None:
        self.world, self.path, self.remote = world, path, remote

    @property
    def environment(self) -> dict[str, str]:
        """Variables of its commands."""
        kept = {name: value for name, value in self.world.environment.items() if name != "PYTHONPATH"}
        return {**kept, **_WHO}

    def begin(self) -> None:
        """Make a git repository, and a project of it."""
        self.path.mkdir()
        self.git("init", "-q", "-b", "main")
        self.do("init", "--hooks")
        self.do("remote", "add", "-d", "storage", self.remote)
        self.commit("begin")

    def clone(self, path: Path) -> Penstock:
        """Clone it, as far as git does."""
        subprocess.run(["git", "clone", "-q", self.path, path], check=True, capture_output=True, env=self.environment)
        new = type(self)(self.world, path, self.remote)
        new.enter()
        return new

    def enter(self) -> None:
        """Do what a clone needs once."""
        self.do("trust")

    def do(self, *words: str) -> Took:
        """Run a command of it."""
        return timed(lambda: self.answer(*words))

    def answer(self, *words: str) -> str:
        """Run a command of it; what it says. Ends the benchmark if it fails."""
        command = [self.program, *words]
        done = subprocess.run(command, cwd=self.path, env=self.environment, capture_output=True, text=True, check=False)
        if done.returncode:
            sys.exit(f"{' '.join(command)}: exit {done.returncode}\n{done.stdout}{done.stderr}")
        return done.stdout

    def git(self, *words: str) -> Took:
        """Run git, hooks and all."""
        return timed(
            lambda: subprocess.run(
                ["git", *words], cwd=self.path, env=self.environment, check=True, capture_output=True
            )
        )

    def commit(self, message: str) -> None:
        """Commit all there is for git."""
        self.git("add", "-A")
        self.git("commit", "-q", "--allow-empty", "-m", message)

    def import_by_reference(self, url: str, path: str, out: str) -> Took:
        """Track a path of another repository here, without its data."""
        return self.do("import", url, path, "-o", out, "--no-checkout")

    def update(self, path: str, *, data: bool = True) -> Took:
        """Follow the other repository."""
        return self.do("update", path, *(() if data else ("--no-checkout",)))

    def data_bytes(self) -> int:
        """Return how much of data lies in its own store on this disk."""
        return _size(self.path / ".penstock/bucket/.penstock/data")

    def stage_for_files(self) -> None:
        """Have each file of `work/inputs` made into one of `work/clean`; a call leaves a dot in `calls`."""
        self._in("work", "run", "-n", "clean", "--each", "inputs", "-o", "clean", _EACH)

    def add_stage(self, number: int) -> None:
        """Add one of a chain of stages."""
        self._in("chain", "stage", "add", "-n", f"s{number}", "-d", f"{number}.txt", "-o", f"{number + 1}.txt",
                 f"cp {number}.txt {number + 1}.txt")  # fmt: skip

    def repro(self, folder: str) -> Took:
        """Bring the stages of a folder up to date."""
        return timed(lambda: self._in(folder, "repro"))

    def _in(self, folder: str, *words: str) -> None:
        type(self)(self.world, self.path / folder, self.remote).answer(*words)


class Dvc(Penstock):
    """The same of DVC's."""

    name = "DVC"

    def __init__(self, world: World, path: Path, remote: str) -> None:
        super().__init__(world, path, remote)
        self.program = find_dvc() or "dvc"

    @property
    def environment(self) -> dict[str, str]:
        """See above; nothing of it is kept from one run to the next."""
        site = self.world.scratch / "dvc-site"
        home = {"DVC_SITE_CACHE_DIR": str(site), "DVC_NO_ANALYTICS": "1"}
        path = os.pathsep.join([str(Path(self.program).parent), os.environ["PATH"]])
        return {**super().environment, **home, "PATH": path}  # its hooks call it by name

    def begin(self) -> None:
        """See above."""
        self.path.mkdir()
        self.git("init", "-q", "-b", "main")
        self.do("init", "-q")
        self.do("config", "core.check_update", "false")
        self.do("config", "cache.type", "hardlink,copy")
        self.do("config", "core.autostage", "true")
        self.do("install")
        self.do("remote", "add", "-d", "storage", self.remote)
        if self.remote.startswith("s3://"):
            self.do("remote", "modify", "storage", "endpointurl", self.world.proxy.endpoint)
        self.commit("begin")

    def enter(self) -> None:
        """See above: nothing."""

    def import_by_reference(self, url: str, path: str, out: str) -> Took:
        """See above; with its data, which is what DVC's `import` does."""
        (self.path / out).mkdir(parents=True)
        return self.do("import", url, path, "-o", f"{out}/{Path(path).name}")

    def update(self, path: str, *, data: bool = True) -> Took:  # noqa: ARG002 - it has no other way
        """See above."""
        return self.do("update", f"{path}.dvc")

    def data_bytes(self) -> int:
        """See above."""
        return _size(self.path / ".dvc/cache")

    def stage_for_files(self) -> None:
        """See above: all of them in one command."""
        script = self.path / "work/clean.py"
        script.write_text(_ALL)
        self._in("work", "stage", "add", "-q", "-n", "clean", "-d", "inputs", "-o", "clean", "python3 clean.py")
        self._in("work", "repro", "-q")

    def add_stage(self, number: int) -> None:
        """See above."""
        self._in("chain", "stage", "add", "-q", "-n", f"s{number}", "-d", f"{number}.txt", "-o", f"{number + 1}.txt",
                 f"cp {number}.txt {number + 1}.txt")  # fmt: skip


def _size(folder: Path) -> int:
    return sum(each.stat().st_size for each in folder.rglob("*") if each.is_file())


def copy_tree(source: Path, target: Path) -> None:
    """Copy files and folders, without their times: as somebody puts new data there."""
    shutil.copytree(source, target, copy_function=shutil.copyfile)
