"""A registry in git beside DVC: openclipart and many small files, on a local remote and on S3 25 ms away.

Both do the same, one after the other, on one disk, in one run; the page cache is warm unless a row says cold. DVC links
its files hard, its fastest way (registry_tools). Bars in seconds are held against the clock; the processor time beside
them tells what a busy machine has added. Sizes are smaller than what the bars speak of unless the run is `--full`:
100,000 files of 4 KB, 1 GiB, stages over all of openclipart, and the cold rows.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

from figures import Figures
from registry_tools import Dvc, Penstock, Took, copy_tree, find_dvc, timed
from world import World

__all__ = ["bench_registry"]

_CHANGED = 1 << 20


def bench_registry(world: World, figures: Figures) -> None:
    """Measure all rows, each beside DVC where that can do it."""
    rows: list[tuple[str, Callable[[World, _Rows], None]]] = [
        ("local", _local),
        ("s3", _far),
        ("many", _many),
        ("import", _imports),
        ("stages", _stages),
        ("large", _large),
    ]
    for name, measure in rows:
        if re.search(world.rows, name):
            print(f"registry: {name}", file=sys.stderr)
            measure(world, _Rows(figures))


class _Rows:
    """Writes a row a thing that was done: by us, by DVC, how many times as long."""

    def __init__(self, figures: Figures) -> None:
        self._figures = figures

    def row(self, what: str, ours: Took, theirs: Took | None = None, *, most: float = 0, least: float = 0) -> None:
        """Write one; `most` seconds, `least` times as fast as DVC."""
        add = self._figures.add
        add(what, ours.wall, "s", at_most=most or None)
        add("  processor time of it", ours.cpu, "s")
        if theirs is not None:
            add("  by DVC", theirs.wall, "s")
            add("  DVC's time / ours", theirs.wall / ours.wall, "x", at_least=least or None)
            add("  DVC's processor time / ours", theirs.cpu / ours.cpu, "x")

    def count(self, what: str, number: float, unit: str, *, most: float) -> None:
        """Write something that was counted."""
        self._figures.add(f"  {what}", number, unit, at_most=most)


def _pair(world: World, name: str, *, far: bool = False) -> list[Penstock]:
    """Begin a project of Penstock's and one of DVC's, where that is measured, with remotes of their own."""

    def remote(kind: str) -> str:
        return f"s3://{world.bucket()}" if far else str(world.scratch / f"{name}-{kind}-remote")

    tools = [Penstock(world, world.scratch / f"{name}-ours", remote("ours"))]
    if find_dvc() is not None:
        tools.append(Dvc(world, world.scratch / f"{name}-dvc", remote("dvc")))
    for tool in tools:
        tool.begin()
    return tools


def _local(world: World, rows: _Rows) -> None:
    tools = _pair(world, "local")
    for tool in tools:
        copy_tree(world.clipart, tool.path / "raw")
    added = [tool.do("add", "raw") + tool.do("push") for tool in tools]
    rows.row("add and push of openclipart, local", *added, least=4)
    for tool in tools:
        tool.commit("first")
    rows.row("status, nothing changed", *(tool.do("status") for tool in tools), most=0.5)
    if world.full and world.drop_page_cache():
        cold: list[Took] = []
        for tool in tools:
            world.drop_page_cache()
            cold.append(tool.do("status"))
        rows.row("status, nothing changed, cold", *cold)
    rows.row("push, nothing new", *(tool.do("push") for tool in tools))
    _one_changed(tools, rows, "local", most=1)
    switched = []
    for tool in tools:
        picture = _picture(tool.path / "raw")
        changed = picture.read_bytes()
        switched.append(tool.git("checkout", "-q", "main"))
        if picture.read_bytes() == changed:
            sys.exit(f"the data did not follow the switch: {tool.name}")
    rows.row("git checkout of a branch that differs by one file, data and all", *switched, most=0.7)
    _pulled(world, tools, rows, "local", least=3)


def _picture(folder: Path) -> Path:
    return min(folder.rglob("*.png"))


def _change(path: Path) -> None:
    """Change a file as an editor does: what other links to it have stays as it was."""
    body = path.read_bytes()
    path.unlink()
    path.write_bytes(body + os.urandom(8))


def _one_changed(tools: list[Penstock], rows: _Rows, where: str, *, most: float) -> None:
    took = []
    for tool in tools:
        tool.git("checkout", "-q", "-b", "other")
        _change(_picture(tool.path / "raw"))
        added = tool.do("add", "raw")
        if isinstance(tool, Dvc):
            took.append(added + tool.do("push"))
        else:
            said: list[str] = []
            took.append(added + timed(lambda tool=tool, said=said: said.append(tool.answer("push", "--json"))))
            objects = json.loads(said[0])["objects"]
        tool.commit("second")
    rows.row(f"one file of 8,121 changed: add and push, {where}", *took, most=most)
    rows.count("data objects sent", objects, "", most=1)


def _pulled(world: World, tools: list[Penstock], rows: _Rows, where: str, *, least: float) -> None:
    took: list[Took] = []
    cold: list[Took] = []
    for number in range(2 if world.full and world.drop_page_cache() else 1):
        for tool in tools:
            clone = tool.clone(tool.path.with_name(f"{tool.path.name}-clone-{number}"))
            world.forget_cache()
            if number:
                world.drop_page_cache()
            (cold if number else took).append(clone.do("pull"))
            files = [sum(each.is_file() for each in (at / "raw").rglob("*")) for at in (clone.path, tool.path)]
            if files[0] != files[1]:
                sys.exit(f"the clone of {tool.name} has {files[0]} files, and not {files[1]}")
            shutil.rmtree(clone.path)
    rows.row(f"fresh clone: pull, {where}", *took, least=least)
    if cold:
        rows.row(f"fresh clone: pull, {where}, cold", *cold)


def _far(world: World, rows: _Rows) -> None:
    tools = _pair(world, "far", far=True)
    for tool in tools:
        copy_tree(world.clipart, tool.path / "raw")
    rows.row("add and push of openclipart, S3", *(tool.do("add", "raw") + tool.do("push") for tool in tools), least=12)
    for tool in tools:
        tool.commit("first")
    _one_changed(tools, rows, "S3", most=2)
    _pulled(world, tools, rows, "S3", least=8)
    clone = tools[0].clone(world.scratch / "far-mounted")
    world.forget_cache()

    def first_file() -> None:
        clone.answer("checkout", "--mount", "raw")
        next((clone.path / "raw").rglob("*.png")).read_bytes()

    try:
        rows.row("fresh clone: checkout --mount to the first file read, S3", timed(first_file), most=2)
    finally:
        if (clone.path / "raw").is_mount():
            world.run("penstock", "umount", clone.path / "raw")


def _many(world: World, rows: _Rows) -> None:
    count = 100_000 if world.full else 20_000
    tools = _pair(world, "many")
    for tool in tools:
        for folder in range(100):
            (tool.path / "raw" / str(folder)).mkdir(parents=True)
            for number in range(count // 100):
                (tool.path / "raw" / str(folder) / str(number)).write_bytes(f"{folder:8} {number:8}\n".encode() * 228)
    rows.row(f"add of {count:,} files of 4 KB", *(tool.do("add", "raw") for tool in tools), least=5)
    rows.row(f"status of {count:,} files, nothing changed", *(tool.do("status") for tool in tools), least=4)


def _imports(world: World, rows: _Rows) -> None:
    """The other repository has openclipart; here it is followed, with stages that read it."""
    sources = _pair(world, "source")
    for source in sources:
        copy_tree(world.clipart, source.path / "raw")
        source.do("add", "raw")
        source.do("push")
        source.commit("first")
    users = _pair(world, "user")
    for user, source in zip(users, sources, strict=True):
        if user.name == "ours":
            user.do("trust", str(source.path))
    took = [
        user.import_by_reference(str(source.path), "raw", "inputs") for user, source in zip(users, sources, strict=True)
    ]
    rows.row("import of openclipart by reference (by DVC with its data)", *took, most=2)
    rows.count("data bytes copied", users[0].data_bytes(), "B", most=0)
    for source in sources:
        _change(_picture(source.path / "raw"))
        source.do("add", "raw")
        source.do("push")
        source.commit("one changed")
    took = [user.update("inputs/raw", data=False) for user in users]
    rows.row("update after one file changed there", *took, most=2)


def _stages(world: World, rows: _Rows) -> None:
    """The images of another repository, a stage that makes one of each, and a chain of twenty."""
    count = 8_121 if world.full else 1_000
    pictures = sorted(each for each in world.clipart.rglob("*.png"))
    sources, users = _pair(world, "pictures"), _pair(world, "processed")
    for source, user in zip(sources, users, strict=True):
        _put(pictures[:count], source.path / "raw", 0)
        source.do("add", "raw")
        source.do("push")
        source.commit("first")
        (user.path / "work").mkdir()
        if user.name == "ours":
            user.do("trust", str(source.path))
            user.do("import", str(source.path), "raw", "-o", "work", "--name", "inputs")
        else:
            user.do("import", str(source.path), "raw", "-o", "work/inputs")
        user.stage_for_files()
        user.commit("processed")
    rows.row(f"repro, nothing to do, one stage of {count:,} files", *(user.repro("work") for user in users), most=0.7)
    calls = users[0].path / "calls"
    for what, new, most in (("one image changed", 0, 3.0), ("100 new images", 100, 0.0)):
        took = []
        for source, user in zip(sources, users, strict=True):
            if new:
                _put(pictures[:new], source.path / "raw", 1)
            else:
                _change(_picture(source.path / "raw"))
            source.do("add", "raw")
            source.do("push")
            source.commit(what)
            if calls.exists() and user.name == "ours":
                calls.write_text("")
            took.append(user.update("work/inputs") + user.repro("work"))
        rows.row(f"{what} of {count:,} there: update and repro here", *took, most=most)
        rows.count(f"calls of the command (of DVC's all {count:,})", calls.read_text().count("."), "", most=new or 1)
    for user in users:
        (user.path / "chain").mkdir()
        (user.path / "chain/0.txt").write_text("begin")
        for number in range(20):
            user.add_stage(number)
        user.repro("chain")
    rows.row("repro, nothing to do, 20 stages", *(user.repro("chain") for user in users), most=1)


def _put(pictures: list[Path], folder: Path, part: int) -> None:
    """Lay pictures down, each with a content of its own, as so many new ones."""
    folder.mkdir(exist_ok=True)
    for number, picture in enumerate(pictures):
        (folder / f"{part}-{number:05}.png").write_bytes(picture.read_bytes() + f"{part} {number}".encode())


def _large(world: World, rows: _Rows) -> None:
    size = 1 << 30 if world.full else 256 << 20
    tools = _pair(world, "large")
    took, sent = [], 0
    for tool in tools:
        large = tool.path / "large.bin"
        with large.open("wb") as stream:
            stream.writelines(os.urandom(1 << 24) for _ in range(size >> 24))
        tool.do("add", "large.bin")
        tool.do("push")
        if tool.name == "DVC":
            tool.do("unprotect", "large.bin")
        with large.open("r+b") as stream:
            stream.seek(size // 2)
            stream.write(os.urandom(_CHANGED))
        said: list[str] = []
        added = tool.do("add", "large.bin")
        words = ("push", "--json") if tool.name == "ours" else ("push",)
        took.append(added + timed(lambda tool=tool, said=said, words=words: said.append(tool.answer(*words))))
        if tool.name == "ours":
            report = json.loads(said[0])
            sent = report["bytes"] + report["metadata_bytes"]
    rows.row(f"1 MiB of {size >> 20:,} MiB changed: add and push", *took)
    rows.count("bytes pushed (by DVC: the whole file)", sent, "B", most=2 << 20)
