"""One ranged GET, or as many as it takes: what came is held against what was asked for.

Every read of an object goes this way, whole ones too: what is not asked for need not be thrown away. A server may
answer with the whole object (it is cut), with fewer bytes (the rest is asked for), or with others (`BentAnswer`: asked
again, then refused). Which part of an answer counts is decided by `http_range`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from botocore.exceptions import ClientError

from penstock.store.base import Buffer, ByteRange, ObjectBeginning, ObjectInfo
from penstock.store.retry import Deadline

from .etags import bare_etag
from .http_range import BentAnswer, plan_answer, total_of
from .s3_body import read_body, read_body_into
from .s3_errors import content_range_of, status_of

__all__ = ["Answer", "beginning", "read_range"]

_MD5 = re.compile("[0-9a-f]{32}")

Answer = Mapping[str, Any]
"""What `get_object` returns."""


def read_range(
    get: Callable[[str], Answer],
    wanted: ByteRange,
    deadline: Deadline,
    *,
    accept: Callable[[Answer], None],
    past_end: Callable[[], None] = lambda: None,
    most: int | None = None,
    checked: bool = False,
    memory: memoryview | None = None,
) -> tuple[Buffer, int | None]:
    """Return the bytes that the object has of `wanted`, at least one byte long, and the object's size if it was said.

    `get` asks for the range that a header names. `accept` raises when an answer is not of the object that is meant;
    `past_end` is called when the object ends before `wanted`. With `most`, an object that says it is larger is not
    read: the answer is empty. `checked`: see `Store.get`. With `memory`, which is as long as `wanted`, the bytes are
    there, and what is returned is the part of it that they fill.
    """
    parts: list[Buffer] = []
    at, end = wanted.offset, wanted.offset + wanted.length
    identity: tuple[str | None, int | None] | None = None
    while True:
        try:
            answer = get(f"bytes={at}-{end - 1}")
        except ClientError as error:
            if status_of(error) != 416:
                raise
            total = total_of(content_range_of(error))
            if total is not None and total > at:
                raise BentAnswer(f"it refused bytes {at}-{end - 1} of an object of {total} bytes") from error
            if not parts:
                past_end()
            return (b"".join(parts) if memory is None else memory[: at - wanted.offset]), total
        raw = answer["Body"]._raw_stream  # noqa: SLF001 - botocore's wrapper does not pass read1 through
        try:
            accept(answer)
            status = answer["ResponseMetadata"]["HTTPStatusCode"]
            plan = plan_answer(
                status, answer.get("ContentRange"), answer.get("ContentLength"), at, end, checked=checked
            )
            same = (bare_etag(answer.get("ETag")), plan.total)
            if identity is not None and same != identity:
                raise BentAnswer("what it sent in parts are parts of different objects")
            identity = same
        except BaseException:
            raw.close()
            raise
        if most is not None and plan.total is not None and plan.total > most:
            raw.close()
            return b"", plan.total
        before = at - wanted.offset
        body: Buffer
        if memory is not None and not plan.skip and plan.expected == plan.take:
            body = memory[before : before + plan.take]
            read_body_into(raw, deadline, body, before=before)
        else:
            body = read_body(raw, deadline, plan.take, skip=plan.skip, expected=plan.expected, before=before)
            if memory is not None:
                memory[before : before + len(body)] = body
        if not plan.more:
            if memory is not None:
                return memory[: before + len(body)], plan.total
            return (b"".join([*parts, body]) if parts else body), plan.total
        parts.append(body)
        at += len(body)


def beginning(key: str, data: bytes, size: int, answer: Answer) -> ObjectBeginning:
    """Return what an answer with the first bytes of an object says of it.

    An ETag of 32 hex digits is the MD5 of the bytes, unless they are encrypted with a key of KMS or of the customer's.
    """
    etag, modified, version = bare_etag(answer.get("ETag")), answer.get("LastModified"), answer.get("VersionId")
    plain = answer.get("ServerSideEncryption") in (None, "AES256") and not answer.get("SSECustomerAlgorithm")
    md5 = bytes.fromhex(etag) if plain and etag is not None and _MD5.fullmatch(etag) else None
    written = modified.timestamp() if modified is not None else None
    info = ObjectInfo(key, size, written, etag, version if version and version != "null" else None)
    return ObjectBeginning(info, data, md5)
