"""Directories with pictures, labels and tables, and with files that mean harm: what pages are tested and shown with."""

from __future__ import annotations

import io
import json
import random
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw

import penstock

from .directory import write

__all__ = ["hostile_files", "labels_of", "meadow", "picture", "tell_meadow"]

_GROUNDS = ("#7fae86", "#88a7c4", "#c9b27c", "#9c90b8", "#c58f7d", "#6fa3a0")
README = """# Meadow

Boxes around **balls** and *kites*, drawn for tests. Each image has its labels as metadata.

| split | images |
|---|---|
| train | 16 |
| test | 4 |

![a ball](train/meadow-000.png)

See [the format](https://example.org/format) for more.
"""


def labels_of(number: int) -> list[dict[str, Any]]:
    """Return the labels of an image of the meadow."""
    chance = random.Random(number)
    labels = []
    for _ in range(chance.randint(1, 3)):
        size = chance.randint(40, 90)
        x, y = chance.randint(5, 310 - size), chance.randint(5, 230 - size)
        labels.append({"category": chance.choice(("ball", "kite")), "bbox": [x, y, size, size]})
    return labels


def picture(number: int, form: str = "PNG") -> bytes:
    """Return an image of the meadow."""
    image = Image.new("RGB", (320, 240), _GROUNDS[number % len(_GROUNDS)])
    draw = ImageDraw.Draw(image)
    draw.rectangle((0, 150 + number % 5 * 8, 320, 240), fill="#4f7a52")
    chance = random.Random(number)
    for label in labels_of(number):
        x, y, width, height = label["bbox"]
        fill = chance.choice(("#e0533d", "#f0b429", "#3d6fe0", "#f5f1e6"))
        if label["category"] == "ball":
            draw.ellipse((x, y, x + width, y + height), fill=fill)
        else:
            draw.polygon(
                ((x + width / 2, y), (x + width, y + height / 2), (x + width / 2, y + height), (x, y + height / 2)),
                fill=fill,
            )
    out = io.BytesIO()
    image.save(out, form)
    return out.getvalue()


def meadow(images: int = 20) -> dict[str, bytes]:
    """Return the files of a small dataset of pictures."""
    files: dict[str, bytes] = {"README.md": README.encode()}
    for number in range(images):
        folder = "train" if number < images * 4 // 5 else "test"
        files[f"{folder}/meadow-{number:03}.png"] = picture(number)
    rows = [f"{number},{label['category']}" for number in range(images) for label in labels_of(number)]
    files["labels.csv"] = "\n".join(["image,category", *rows]).encode()
    files["notes.json"] = json.dumps({"made": "2026-11-30", "colours": list(_GROUNDS)}).encode()
    return files


def tell_meadow(home: Path, images: int = 100) -> None:
    """Make a bucket ``demo`` below `home` with the pictures in three versions, and with the files that mean harm."""
    penstock.add_remote("demo", str(home / "store"))
    dataset = penstock.Dataset("demo/meadow")
    dataset.create(title="Meadow", description="Balls and kites on grass, with boxes around them")
    dataset.push(write(home / "meadow", meadow(images)), message="First batch")
    dataset.tag("v1")
    with penstock.Package("demo/meadow").to_builder() as builder:
        for number in range(images * 4 // 5):
            builder.set_meta(f"train/meadow-{number:03}.png", {"annotations": labels_of(number), "split": "train"})
        builder.push("demo/meadow:main", message="Label the training images")
    with penstock.Package("demo/meadow").to_builder() as builder:
        labels = labels_of(1)
        labels[0]["bbox"][0] += 30
        builder.set_meta("train/meadow-001.png", {"annotations": labels, "split": "train"})
        (home / "other.png").write_bytes(picture(77))
        builder.set("train/meadow-000.png", home / "other.png")
        builder.delete("train/meadow-002.png").move("train/meadow-003.png", "test/moved-003.png")
        builder.push("demo/meadow:main", message="Mend a label, replace what was blurred")
    penstock.Dataset("demo/hostile").push(write(home / "hostile", hostile_files()), message="<script>alert(1)</script>")


def hostile_files() -> dict[str, bytes]:
    """Return files that would run something, or break something, if they were let."""
    loud = "document.documentElement.dataset.ran='yes';fetch('/keys')"
    svg = (
        '<svg xmlns="http://www.w3.org/2000/svg" width="99" height="99" onload="RUN"><script>RUN</script>'
        '<rect width="99" height="99" fill="#c55"/><foreignObject width="99" height="99">'
        '<iframe xmlns="http://www.w3.org/1999/xhtml" src="javascript:RUN"/></foreignObject></svg>'
    ).replace("RUN", loud)
    page = f'<!doctype html><title>x</title><script>{loud}</script><img src=x onerror="{loud}">'
    bomb = io.BytesIO()
    Image.new("1", (25_000, 25_000)).save(bomb, "PNG")
    return {
        "README.md": f'# Hello <script>{loud}</script>\n<img src=x onerror="{loud}">\n[a](javascript:{loud})\n\n'
        f'<a href="//example.org/x" onclick="{loud}">b</a>\n'.encode(),
        "<img src=x onerror=document.documentElement.dataset.ran='yes'>.txt": b"name",
        '"><svg onload=document.documentElement.dataset.ran=1>.png': picture(3),
        "{{ 7*7 }}.txt": b"template",
        "line\nfeed.txt": b"feed",
        "turned \u202egnp.exe": b"turned",
        "%2e%2e%2fsecret.txt": b"percent",
        "page.html": page.encode(),
        "picture.svg": svg.encode(),
        "bomb.png": bomb.getvalue(),
        "broken.png": b"\x89PNG\r\n\x1a\n" + b"no picture",
        "cells.csv": b"name,formula\n<script>alert(1)</script>,=cmd|' /C calc'!A0\n",
    }
