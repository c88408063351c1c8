"""``penstock demo``: what Penstock does, on a store in a directory of this machine, with real files, step by step.

Each step is the program itself, run as it is typed. Nothing outside of the demo's directory is touched but for the
name of its bucket in the settings, and ``--remove`` takes both away.
"""

from __future__ import annotations

import encodings
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator

import click

from penstock.api.mounts.mounts import mount_at
from penstock.api.settings import Settings
from penstock.cli.command_classes import Command
from penstock.cli.invocation import Invocation, pass_invocation
from penstock.errors import ConflictError, PenstockError, UsageError

__all__ = ["demo"]

_MARK = ".penstock-demo"
_NAME = "demo"
_ZONES = "/usr/share/zoneinfo"
_EDITED = "zone.tab"


@click.command(
    cls=Command,
    examples=("penstock demo", "penstock demo ~/try", "penstock demo --remove"),
)
@click.argument("directory", type=click.Path(), default="~/penstock-demo")
@click.option("--remove", is_flag=True, help="Unmount the demo and delete its directory.")
@pass_invocation
def demo(invocation: Invocation, directory: str, remove: bool) -> None:
    """Push real files into a local store, mount them, change them, commit the changes, and explain each step.

    Everything happens in DIRECTORY, which is created (default: ~/penstock-demo). The files are this machine's time
    zone data, or else a part of its Python. They stay mounted, so that you can look around, until you remove the demo.
    """
    place = os.path.realpath(os.path.expanduser(directory))
    if remove:
        _remove(invocation, place)
    else:
        _show(invocation, place)


def _show(invocation: Invocation, place: str) -> None:
    if os.path.lexists(place):
        raise ConflictError(
            f"{place} is there already", fix=f"penstock demo --remove {place}, or name another directory"
        )
    settings = invocation.settings()
    store, there = os.path.join(place, "store"), os.path.join(place, "files")
    os.makedirs(there)
    with open(os.path.join(place, _MARK), "x", encoding="ascii") as stream:
        stream.write("Made by penstock demo; penstock demo --remove deletes this directory.\n")
    steps = []
    for told, command in _steps(_bucket(settings, store), store, there):
        steps.append({"command": command, "told": told})
        if not invocation.output.json:
            invocation.output.line()
            invocation.output.line(told)
            invocation.output.line(f"    $ {command}")
            invocation.output.finish()
        _run(invocation, command)
    if invocation.output.json:
        invocation.output.document({"directory": place, "steps": steps})
        return
    invocation.output.line()
    invocation.output.line(f"It is all in {place}; it stays mounted until: penstock demo --remove{_named(place)}")
    invocation.output.line("With your own files: penstock push DIR BUCKET/DATASET, and penstock --help")


def _bucket(settings: Settings, store: str) -> str:
    """Return what the demo's bucket is called: by a name of its own, unless that is taken."""
    return _NAME if _NAME not in settings.remotes else f"file://{store}"


def _steps(bucket: str, store: str, there: str) -> Iterator[tuple[str, str]]:
    source = _ZONES if os.path.isfile(os.path.join(_ZONES, _EDITED)) else os.path.dirname(encodings.__file__)
    edited = _EDITED if source == _ZONES else "ascii.py"
    removed = "Europe/Paris" if source == _ZONES else "rot_13.py"
    dataset, quoted = f"{bucket}/files", shlex.quote(there)
    if bucket == _NAME:
        yield "A bucket can be a directory. Give it a name:", f"penstock remote add {bucket} {shlex.quote(store)}"
    yield f"Push {source}: it becomes a version.", f"penstock push {source} {dataset} -m 'as they are here' --tag v1"
    yield "Mount it, so that it can be changed. No file is fetched yet:", f"penstock mount -w {dataset} {quoted}"
    yield "They are files like any others; only what is read is fetched:", f"tail -n 2 {quoted}/{edited}"
    yield "Change one, with any program:", f"echo '# changed' >> {quoted}/{edited}"
    yield "Remove one:", f"rm {quoted}/{removed}"
    yield "See what is different:", f"penstock diff {quoted}"
    yield "Make that a version. Only what changed is sent:", f"penstock commit {quoted} -m 'the demo was here'"
    yield "Both versions are there, for ever:", f"penstock log {dataset} --oneline"
    yield "What was removed is in the first one:", f"penstock ls -l {dataset}:v1/{removed}"


def _run(invocation: Invocation, command: str) -> None:
    """Run a step as a shell does, with this program as ``penstock``."""
    config = ["--config", str(invocation.config)] if invocation.config is not None else []
    program = shlex.join([sys.executable, "-P", "-m", "penstock", *config])
    script = f'penstock() {{ {program} "$@"; }}\n{command}\n'
    done = subprocess.run(["sh", "-c", script], capture_output=True, text=True, errors="replace", check=False)
    if not invocation.output.json:
        for line in (done.stdout + done.stderr).expandtabs().splitlines():
            invocation.output.line(f"    {line}")
    if done.returncode not in (0, 1) or (done.returncode and "diff" not in command):
        said = (done.stderr.strip() or f"exit code {done.returncode}").splitlines()
        raise PenstockError(
            "the demo stopped",
            why=f"{command}: {said[0].removeprefix('penstock: ')}",
            fix="Do what it says; penstock demo --remove takes away what is there already",
        )


def _remove(invocation: Invocation, place: str) -> None:
    if not os.path.isfile(os.path.join(place, _MARK)):
        raise UsageError(
            f"{place} is not a demo",
            why=f"there is no {_MARK} in it, and nothing else is deleted",
            fix="Name the directory that the demo was made in.",
        )
    there = os.path.join(place, "files")
    quoted = shlex.quote(there)
    info = mount_at(there)
    if info is not None:
        if info.alive:
            _run(invocation, f"penstock discard {quoted} --yes >/dev/null")
        _run(invocation, f"penstock umount {quoted}")
    remote = invocation.settings().remotes.get(_NAME)
    if remote is not None and remote.url == f"file://{place}/store":
        _run(invocation, f"penstock remote remove {_NAME} >/dev/null")
    shutil.rmtree(place)
    if invocation.output.json:
        invocation.output.document({"removed": place})
    else:
        invocation.output.line(f"{place} is gone")


def _named(place: str) -> str:
    return "" if place == os.path.realpath(os.path.expanduser("~/penstock-demo")) else f" {shlex.quote(place)}"
