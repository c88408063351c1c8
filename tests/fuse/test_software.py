"""Programs as they are, at work in a writable mount: on what they make, and on a version's own files."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import textwrap
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from views.bucket import LocalBucket
from views.living import program
from views.twins import observed

from penstock.mountpoint.known_mounts import MountInfo
from penstock.mountpoint.mount_options import MountOptions
from penstock.mountpoint.unmount import unmount

pytestmark = pytest.mark.fuse
Mount = Callable[..., MountInfo]

WRITABLE = MountOptions(writable=True)


@pytest.fixture
def place(pushed: LocalBucket, mounts: Mount, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the mountpoint of a writable mount of everything; git has an author, and a committer."""
    for role in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{role}_NAME", "me")
        monkeypatch.setenv(f"GIT_{role}_EMAIL", "me@example.org")
    return Path(mounts(options=WRITABLE).mountpoint)


def run(*command: object, cwd: Path | None = None) -> str:
    done = subprocess.run(
        [str(part) for part in command], capture_output=True, text=True, check=False, cwd=cwd, timeout=100
    )
    assert done.returncode == 0, (command, done.stdout, done.stderr)
    return done.stdout


def same(one: Path, other: Path) -> bool:
    ours, theirs = observed(os.fsencode(one)), observed(os.fsencode(other))
    return ours == theirs


@pytest.fixture
def repository(tmp_path: Path, place: Path) -> Path:
    """Return a git repository of some versions."""
    origin = tmp_path / "origin"
    run("git", "init", "-q", "-b", "main", origin)
    for version in range(5):
        for number in range(40):
            path = origin / f"folder-{number % 4}" / f"file-{number}"
            path.parent.mkdir(exist_ok=True)
            path.write_text(f"{version} {number}\n" * (number + 1))
        run("git", "add", "-A", cwd=origin)
        run("git", "commit", "-q", "-m", f"version {version}", cwd=origin)
    return origin


def test_git(place: Path, repository: Path, mounts: Mount) -> None:
    clone = place / "clone"
    run("git", "clone", "-q", "--no-local", repository, clone)
    run("git", "fsck", "--strict", cwd=clone)
    (clone / "folder-1" / "file-1").write_text("changed in the mount\n")
    run("git", "mv", "folder-2", "moved", cwd=clone)
    run("git", "commit", "-q", "-a", "-m", "from the mount", cwd=clone)
    run("git", "checkout", "-q", "-b", "branch", "HEAD~3", cwd=clone)
    run("git", "merge", "-q", "-m", "merged", "main", cwd=clone)
    run("git", "gc", "-q", "--prune=now", cwd=clone)
    assert run("git", "status", "--porcelain", cwd=clone) == ""
    assert unmount(str(place))
    mounts(options=WRITABLE)
    run("git", "fsck", "--strict", cwd=clone)
    assert run("git", "status", "--porcelain", cwd=clone) == ""
    run("git", "clone", "-q", clone, place / "local-clone")  # hard links are refused, so it copies
    run("git", "push", "-q", "origin", "main:from-mount", cwd=clone)
    assert "from the mount" in run("git", "log", "--oneline", "from-mount", cwd=repository)


def test_git_in_a_version(demo: LocalBucket, repository: Path, mounts: Mount) -> None:
    demo.push(repository, "demo/repository")
    clone = Path(mounts("demo/repository", at="working", options=WRITABLE).mountpoint)
    run("git", "fsck", "--strict", cwd=clone)
    (clone / "folder-0" / "file-0").write_text("changed\n")
    (clone / "new").write_text("new\n")
    assert run("git", "status", "--porcelain", cwd=clone).split() == ["M", "folder-0/file-0", "??", "new"]
    run("git", "add", "-A", cwd=clone)
    run("git", "commit", "-q", "-m", "one more", cwd=clone)
    run("git", "reset", "-q", "--hard", "HEAD~2", cwd=clone)
    run("git", "clean", "-fdxq", cwd=clone)
    run("git", "fsck", "--strict", cwd=clone)
    assert (clone / "folder-3" / "file-3").read_text() == "3 3\n" * 4


_MAKEFILE = """
OBJECTS = $(patsubst %.c,%.o,$(wildcard *.c))
program: $(OBJECTS)
\tgcc -o $@ $(OBJECTS)
%.o: %.c all.h
\tgcc -O1 -c -o $@ $<
clean:
\trm -f *.o program
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Return a program in C, of a few files."""
    directory = tmp_path / "project"
    directory.mkdir()
    (directory / "Makefile").write_text(_MAKEFILE)
    numbers = range(12)
    (directory / "all.h").write_text("".join(f"int part{number}(void);\n" for number in numbers))
    for number in numbers:
        (directory / f"part{number}.c").write_text(f'#include "all.h"\nint part{number}(void) {{ return {number}; }}\n')
    total = " + ".join(f"part{number}()" for number in numbers)
    (directory / "main.c").write_text(
        f'#include <stdio.h>\n#include "all.h"\nint main(void) {{ printf("%d\\n", {total}); return 0; }}\n'
    )
    return directory


@pytest.mark.parametrize("where", ["new", "version"])
def test_a_program_is_built(demo: LocalBucket, place: Path, project: Path, mounts: Mount, where: str) -> None:
    if where == "new":
        build = place / "project"
        shutil.copytree(project, build)
    else:
        demo.push(project, "demo/project")
        build = Path(mounts("demo/project", at="building", options=WRITABLE).mountpoint)
    run("make", "-j2", cwd=build)
    assert run(build / "program") == "66\n"
    assert "up to date" in run("make", "-j2", cwd=build)
    (build / "part3.c").write_text("int part3(void) { return 1003; }\n")
    assert run("make", "-j2", cwd=build).count("gcc") == 2
    assert run(build / "program") == "1066\n"
    run("make", "clean", cwd=build)
    assert not (build / "main.o").exists()


_COUNTS = """
import sqlite3, sys
database = sqlite3.connect(sys.argv[1], timeout=60, isolation_level=None)
database.execute("pragma synchronous=" + sys.argv[2])
print("ready", flush=True)
input()
for number in range(40):
    database.execute("begin immediate")
    (value,) = database.execute("select value from counter").fetchone()
    database.execute("update counter set value = ?", (value + 1,))
    database.execute("insert into log values (?, ?)", (value, "x" * 500))
    database.execute("commit")
"""


@pytest.mark.parametrize("where", ["new", "version"])
@pytest.mark.parametrize("journal", ["delete", "wal"])
def test_sqlite(demo: LocalBucket, place: Path, mounts: Mount, tmp_path: Path, journal: str, where: str) -> None:
    path = place / "data.db" if where == "new" else tmp_path / "databases" / "data.db"
    path.parent.mkdir(exist_ok=True)
    database = _sqlite(path)
    assert database(f"pragma journal_mode={journal}") == [(journal,)]
    database("create table counter (value integer)", "insert into counter values (0)")
    database("create table log (value integer unique, filling text)")
    if where == "version":
        demo.push(path.parent, "demo/databases")
        path = Path(mounts("demo/databases", at="databases-mount", options=WRITABLE).mountpoint, "data.db")
        database = _sqlite(path)
    with program(_COUNTS, path, "normal") as one, program(_COUNTS, path, "full") as other:
        for process in (one, other):
            assert process.stdin is not None
            process.stdin.write("\n")
            process.stdin.flush()
        assert one.wait(100) == other.wait(100) == 0
    for _ in range(2):
        assert database("pragma integrity_check") == [("ok",)]
        assert database("select value from counter") == [(80,)]
        assert database("select count(*), sum(value) from log") == [(80, 79 * 40)]
        assert database("pragma journal_mode") == [(journal,)]
        assert unmount(str(path.parent))
        if where == "new":
            mounts(options=WRITABLE)
        else:
            mounts("demo/databases", at="databases-mount", options=WRITABLE)


def _sqlite(path: Path) -> Callable[..., list[tuple[object, ...]]]:
    code = (
        "import json, sqlite3, sys\n"
        "database = sqlite3.connect(sys.argv[1], timeout=60)\n"
        "for statement in sys.argv[2:]: found = database.execute(statement).fetchall()\n"
        "database.commit(); database.close(); print(json.dumps(found))"
    )

    def execute(*statements: str) -> list[tuple[object, ...]]:
        return [tuple(row) for row in json.loads(run(sys.executable, "-c", code, path, *statements))]

    return execute


def test_rsync(place: Path, source: Path) -> None:
    command = ["rsync", "-a", "--delete", "--itemize-changes", f"{source}/", f"{place / 'mirror'}/"]
    assert "big.bin" in run(*command)
    assert run(*command) == ""
    assert same(source, place / "mirror")
    back = [*command[:-2], f"{place / 'mirror'}/", f"{source}/"]
    assert run(*back) == ""
    (source / "small.txt").write_text("changed\n")
    (source / "old").unlink()
    (source / "more").mkdir()
    command[-2:] = [f"{source}/", f"{place}/"]
    command.insert(1, "--exclude=/mirror")
    changed = run(*command)
    assert "small.txt" in changed
    assert "*deleting   old" in changed
    assert "big.bin" not in changed
    assert run(*command) == ""
    shutil.rmtree(place / "mirror")
    assert same(source, place)


def test_rsync_in_place(place: Path, source: Path) -> None:
    with open(source / "big.bin", "r+b") as stream:
        stream.seek(1_500_000)
        stream.write(b"changed")
    run("rsync", "-a", "--inplace", "--no-whole-file", "--checksum", source / "big.bin", place / "big.bin")
    assert (place / "big.bin").read_bytes() == (source / "big.bin").read_bytes()


def test_pip(place: Path, tmp_path: Path) -> None:
    wheel = tmp_path / "thing-1.0-py3-none-any.whl"
    record = "thing-1.0.dist-info"
    files = {f"thing/part{number}.py": f"value = {number}\n" for number in range(30)}
    files["thing/__init__.py"] = "from .part7 import value\n"
    files["thing-1.0.data/scripts/hello"] = "#!python\nprint('hello')\n"
    files[f"{record}/METADATA"] = "Metadata-Version: 2.1\nName: thing\nVersion: 1.0\n"
    files[f"{record}/WHEEL"] = "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    files[f"{record}/RECORD"] = "".join(f"{name},,\n" for name in [*files, f"{record}/RECORD"])
    with zipfile.ZipFile(wheel, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    pip = [sys.executable, "-m", "pip", "install", "-q", "--no-index", "--no-deps", "--disable-pip-version-check"]
    target = place / "site"
    run(*pip, "--target", target, wheel)
    assert run(sys.executable, "-c", "import thing; print(thing.value, thing.__file__)", cwd=target).split() == [
        "7",
        str(target / "thing" / "__init__.py"),
    ]
    run(*pip, "--upgrade", "--target", target, wheel)
    assert (target / "thing" / "part29.py").read_text() == "value = 29\n"


def test_tar_and_cp(place: Path, source: Path, tmp_path: Path) -> None:
    run("tar", "--format=pax", "-cf", tmp_path / "all.tar", "-C", source, ".")
    (place / "unpacked").mkdir()
    run("tar", "-xpf", tmp_path / "all.tar", "-C", place / "unpacked")
    run("cp", "-a", source, place / "copied")
    for made in ("unpacked", "copied"):
        run("diff", "-r", "--no-dereference", source, place / made)
        assert same(source, place / made)
    run("tar", "--format=pax", "-cf", place / "again.tar", "-C", place / "unpacked", ".")
    run("tar", "-df", place / "again.tar", "-C", source)
    run("cp", "-a", "--reflink=auto", place / "big.bin", place / "twice")
    run("cmp", place / "twice", source / "big.bin")
    run("mv", place / "copied", tmp_path / "moved-out")
    assert same(source, tmp_path / "moved-out")
    run("mv", tmp_path / "moved-out", place / "moved-in")
    assert same(source, place / "moved-in")


def test_compileall(place: Path, demo: LocalBucket, mounts: Mount, tmp_path: Path) -> None:
    modules = tmp_path / "modules"
    modules.mkdir()
    for number in range(30):
        (modules / f"module{number}.py").write_text(f"value = {number}\n")
    demo.push(modules, "demo/modules")
    version = Path(mounts("demo/modules", at="modules-mount", options=WRITABLE).mountpoint)
    shutil.copytree(modules, place / "modules")
    for directory in (version, place / "modules"):
        run(sys.executable, "-m", "compileall", "-q", directory)
        assert len(os.listdir(directory / "__pycache__")) == 30
        code = "import module7; print(module7.value, module7.__cached__)"
        assert run(sys.executable, "-c", code, cwd=directory).startswith("7 ")


def test_editors_save_by_renaming(place: Path) -> None:
    path = place / "small.txt"
    os.chmod(path, 0o755)
    for number in range(3):
        temporary = place / ".small.txt.tmp"
        with open(temporary, "x") as stream:
            stream.write(f"saved {number}\n")
            stream.flush()
            os.fsync(stream.fileno())
        os.chmod(temporary, path.stat().st_mode)
        os.rename(path, place / "small.txt~")
        os.rename(temporary, path)
        folder = os.open(place, os.O_RDONLY)
        os.fsync(folder)
        os.close(folder)
        assert path.read_text() == f"saved {number}\n"
    assert (place / "small.txt~").read_text() == "saved 1\n"


def test_sed_and_find(place: Path, source: Path) -> None:
    run("sed", "-i", "s/hello/goodbye/", place / "small.txt", place / "bin" / "hello")
    assert (place / "small.txt").read_text() == "goodbye world\n"
    assert run(place / "bin" / "hello") == ["goodbye", "goodbye from a mount\n"][1]
    (place / "tree").mkdir()
    for number in range(200):
        (place / "tree" / f"{number % 10}").mkdir(exist_ok=True)
        (place / "tree" / f"{number % 10}" / f"{number}").write_text("x")
    assert run("find", place / "tree", "-type", "f", "-name", "*7", "-delete", "-print").count("\n") == 20
    run("find", place / "names", place / "tree", "-delete")
    assert not (place / "tree").exists()
    assert not (place / "names").exists()
    assert run("find", place / "bin", "-newer", place / "big.bin", "-type", "f").split() == [
        str(place / "bin" / "hello")
    ]


def test_a_shell_at_work(place: Path) -> None:
    script = textwrap.dedent("""
        set -eu
        mkdir -p a/b/c
        for i in 1 2 3; do echo "line $i" >> a/b/log; done
        exec 3<>a/b/both; echo text >&3; exec 3>&-
        : > empty
        : > big.bin
        ln -s b/log a/link
        test -s a/link
        ln small.txt hard
        test "$(stat -c %h small.txt)" = 2
        rm hard
        dd if=/dev/zero of=zeros bs=4096 count=10 conv=fsync status=none
        truncate -s 1G huge
        test "$(stat -c %s huge)" = 1073741824
        install -m 755 small.txt installed
        test -x installed
        mv a moved
        sort -o moved/b/log -r moved/b/log
        test "$(head -n 1 moved/link)" = "line 3"
        split -b 10000 zeros part.
        cat part.* | cmp - zeros
        gzip small.txt
        zcat small.txt.gz | grep -q hello
        touch -d 2001-02-03 dated
        test "$(stat -c %Y dated)" = "$(date -d 2001-02-03 +%s)"
        rm -r moved part.*
        sync
        """)
    run("sh", "-c", script, cwd=place)
    assert (place / "big.bin").stat().st_size == 0
    assert not (place / "moved").exists()
