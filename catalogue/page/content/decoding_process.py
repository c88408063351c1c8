"""The process that decodes what users sent: small pictures of images and frames, the first rows of Parquet files.

It is started by `decoding_pool` and may be ended at any moment. Its memory, its time and what it may write are bounded
before it reads a byte; it has no file, no key and no connection. What it is asked and answers are frames on its
standard input and output: the length of a JSON head (4 bytes, big-endian), the head, and as many bytes as that says.
Of a video it asks for what it needs, by an answer that says ``wanted``, and goes on with the bytes that come.
"""

from __future__ import annotations

import importlib
import io
import json
import os
import sys
from collections.abc import Callable
from typing import Any, BinaryIO

from penstock.catalogue.rows.asked_file import AskedFile, bound_process

__all__ = ["read_frame", "write_frame"]

_CPU_SECONDS = 120
_MOST_HEAD = 1 << 20


def read_frame(stream: BinaryIO, most: int | None = None) -> tuple[dict[str, Any], bytes] | None:
    """Return a head and the bytes behind it; None: the stream has ended. ValueError: there are more than `most`."""
    start = stream.read(4)
    if len(start) < 4:
        return None
    length = int.from_bytes(start, "big")
    if length > _MOST_HEAD:
        raise ValueError("the head of a frame is too large")
    raw = stream.read(length)
    head = json.loads(raw)
    if len(raw) < length or not isinstance(head, dict) or not isinstance(head.get("length"), int):
        raise ValueError("this is no frame")
    if head["length"] < 0 or (most is not None and head["length"] > most):
        raise ValueError("a frame is too large")
    body = stream.read(head["length"])
    if len(body) < head["length"]:
        raise ValueError("a frame was cut short")
    return head, body


def write_frame(stream: BinaryIO, head: dict[str, Any], body: bytes = b"") -> None:
    """Write a head, with the length of what is behind it, and that."""
    raw = json.dumps({**head, "length": len(body)}).encode()
    stream.write(len(raw).to_bytes(4, "big") + raw)
    stream.write(body)
    stream.flush()


def _answer(head: dict[str, Any], body: bytes, fetch: Callable[[int, int], bytes]) -> tuple[dict[str, Any], bytes]:
    from penstock.catalogue.page.content import decoders

    try:
        match head["task"]:
            case "picture":
                return decoders.picture(body, int(head["size"]), int(head.get("frame", 0)))
            case "tags":
                return decoders.dicom_tags(body)
            case "dimensions":
                return decoders.dimensions(body)
            case "frames":
                stream = io.BufferedReader(AskedFile(int(head["bytes"]), fetch), 1 << 16)
                return decoders.video_frames(stream, int(head["number"]))
            case _:
                return decoders.table(body, int(head["rows"]))
    except MemoryError:
        return {"note": "it takes more memory to decode than is allowed"}, b""
    except Exception as error:  # noqa: BLE001  # a decoder raises anything over what is hostile, and is told apart by nobody
        return {"note": f"it cannot be decoded: {type(error).__name__}: {str(error)[:200]}"}, b""


def main() -> None:
    """Bound what may be used, and answer until the other end is closed."""
    bound_process(int(sys.argv[1]), _CPU_SECONDS, 0)
    os.environ["ARROW_DEFAULT_MEMORY_POOL"] = "system"
    os.nice(5)
    requests, answers = sys.stdin.buffer, sys.stdout.buffer
    sys.stdout = sys.stderr  # what a library prints is no answer

    def fetch(offset: int, length: int) -> bytes:
        write_frame(answers, {"wanted": [offset, length]})
        given = read_frame(requests)
        return given[1] if given is not None else sys.exit(0)

    importlib.import_module("PIL.Image")  # nearly every task wants it: before there is one, nobody waits for it
    while (asked := read_frame(requests)) is not None:
        write_frame(answers, *_answer(*asked, fetch))


if __name__ == "__main__":
    main()
