"""Functions that the benchmark of transforms sends to workers."""

from __future__ import annotations

import os
import time
from pathlib import Path


def copy(input_dir: Path, output_dir: Path) -> dict[str, Path]:
    """Copy a file."""
    [path] = input_dir.iterdir()
    (output_dir / path.name).write_bytes(path.read_bytes())
    return {path.name: output_dir / path.name}


def sleep(input_dir: Path, output_dir: Path) -> dict[str, Path]:
    """Take 50 ms."""
    time.sleep(0.05)
    return copy(input_dir, output_dir)


def resize(input_dir: Path, output_dir: Path) -> dict[str, Path]:
    """Make a picture small."""
    from PIL import Image

    [path] = input_dir.iterdir()
    try:
        with Image.open(path) as picture:
            small = picture.convert("RGBA")
    except Image.DecompressionBombError:  # one of openclipart has 620 million pixels
        return {}
    small.thumbnail((64, 64))
    small.save(output_dir / path.name)
    return {path.name: output_dir / path.name}


def noted(input_dir: Path, output_dir: Path, calls: str) -> dict[str, Path]:
    """Copy a file, and say so in another one."""
    descriptor = os.open(calls, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(descriptor, b"called\n")
    os.close(descriptor)
    return copy(input_dir, output_dir)
