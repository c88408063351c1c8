"""Functions that tests send to workers: by their name, so that other processes can import them."""

from __future__ import annotations

import os
import signal
from pathlib import Path


def note(calls: str, key: str) -> None:
    """Say in a file that a function was called; one write, so that lines of two processes do not mix."""
    descriptor = os.open(calls, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.write(descriptor, f"{key}\n".encode())
    os.close(descriptor)


def halve(input_dir: Path, output_dir: Path, key: str, calls: str) -> dict[str, Path]:
    """Make two files of one."""
    note(calls, key)
    [path] = input_dir.iterdir()
    small, told = output_dir / path.name, output_dir / "told"
    small.write_bytes(path.read_bytes()[::2])
    told.write_text(key)
    return {path.name: small, f"about/{path.name}.txt": told}


def swell(input_dir: Path, output_dir: Path) -> dict[str, Path]:
    """Make a large file of any."""
    [path] = input_dir.iterdir()
    made = output_dir / path.name
    made.write_bytes(bytes(6 << 20))
    return {path.name: made}


def first_of_all(once: str) -> bool:
    """Whether nobody has asked before: of all processes one gets True."""
    try:
        descriptor = os.open(once, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return False
    os.write(descriptor, str(os.getpid()).encode())
    os.close(descriptor)
    return True


def halve_and_die_once(input_dir: Path, output_dir: Path, key: str, calls: str, once: str) -> dict[str, Path]:
    """The same, but that the first worker is killed when it is at a file in the middle."""
    if key.endswith("7.bin") and first_of_all(once):
        os.kill(os.getpid(), signal.SIGKILL)
    return halve(input_dir, output_dir, key, calls)


def halve_and_hang_once(input_dir: Path, output_dir: Path, key: str, calls: str, once: str) -> dict[str, Path]:
    """The same, but that the first worker stops for ever when it is at a file in the middle."""
    if key.endswith("7.bin") and first_of_all(once):
        os.kill(os.getpid(), signal.SIGSTOP)
    return halve(input_dir, output_dir, key, calls)
