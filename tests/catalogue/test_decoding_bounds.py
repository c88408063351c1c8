"""Files that decode to far more than they are: each is told as what it is, or as too much, and nobody else is hurt."""

from __future__ import annotations

import io
import random
import struct
import zlib
from collections.abc import Iterator
from typing import Any

import pytest
from PIL import Image
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import UID, DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian, JPEGBaseline8Bit
from trees.pictures import picture
from trees.viewed import parquet as small_table

from penstock.catalogue.page.content.decoding_pool import DecodingPool
from penstock.catalogue.rows.probe import Prober
from penstock.catalogue.rows.probe_messages import Facts, Unknown

_ANSWERED = 4 << 20
_MEMORY = 768 << 20
"""Of the processes: less than they have by default, so that it is reached sooner."""
pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module")
def pool() -> Iterator[DecodingPool]:
    found = DecodingPool(1, 120, _MEMORY)
    yield found
    found.close()


def asked(pool: DecodingPool, body: bytes, **task: Any) -> dict[str, Any]:
    """Return the head of an answer, and see that the next question is answered as well."""
    head, answer = pool.ask(task, body)
    assert len(answer) < _ANSWERED
    assert pool.ask({"task": "picture", "size": 320}, picture(1))[1]
    return head


def probed(body: bytes) -> Facts | Unknown:
    with Prober(seconds=120, memory=_MEMORY) as prober:
        return prober.probe(len(body), lambda offset, length: body[offset : offset + length])


def dicom(syntax: UID, rows: int, columns: int, frames: int, pixels: bytes) -> bytes:
    """Return a DICOM file that says these sizes of itself, whatever its pixels are."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = UID("1.2.840.10008.5.1.4.1.1.2"), UID("1.2.3.4")
    meta.TransferSyntaxUID = syntax
    file = FileDataset("x", {}, file_meta=meta, preamble=b"\0" * 128)
    file.SOPClassUID, file.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    file.Rows, file.Columns, file.NumberOfFrames = rows, columns, frames
    file.SamplesPerPixel, file.PhotometricInterpretation = 1, "MONOCHROME2"
    file.BitsAllocated, file.BitsStored, file.HighBit, file.PixelRepresentation = 8, 8, 7, 0
    file.PixelData = pixels
    if syntax.is_compressed:
        file["PixelData"].VR = "OB"
    out = io.BytesIO()
    file.save_as(out, enforce_file_format=True)
    return out.getvalue()


def inflating(blocks: int) -> bytes:
    """Return raw DEFLATE of so many times 16 MiB of zeros, without making those."""
    packer = zlib.compressobj(9, wbits=-15)
    block = packer.compress(bytes(16 << 20)) + packer.flush(zlib.Z_FULL_FLUSH)  # it refers to nothing before it
    return block * blocks + b"\x03\0"


def test_a_table_of_values_as_large_as_memory_is_told_as_too_much_or_cut(pool: DecodingPool) -> None:
    import pyarrow as pa
    from pyarrow import parquet as form

    def table(value: int, rows: int) -> bytes:
        out = io.BytesIO()
        column = pa.DictionaryArray.from_arrays(pa.array([0] * rows, pa.int32()), pa.array(["x" * value]))
        form.write_table(pa.table({"a": column}), out, compression="zstd")
        return out.getvalue()

    bomb = table(16 << 20, 200)  # 3.2 GB, in some kilobytes
    assert len(bomb) < 1 << 20
    assert asked(pool, bomb, task="table", rows=200)["note"]
    long = table(1 << 20, 50)
    assert "note" not in asked(pool, long, task="table", rows=200)


def test_a_table_of_a_thousand_groups_of_rows_and_one_whose_end_is_damaged_are_answered(pool: DecodingPool) -> None:
    import pyarrow as pa
    from pyarrow import parquet as form

    out = io.BytesIO()
    with form.ParquetWriter(out, pa.schema([("a", pa.int64())])) as writer:
        for number in range(1000):
            writer.write_table(pa.table({"a": [number]}))
    assert asked(pool, out.getvalue(), task="table", rows=5)["rows"] == 1000
    whole, chance = small_table(), random.Random(14)
    for _ in range(25):
        bent = bytearray(whole)
        for _ in range(3):
            bent[chance.randrange(len(whole) // 2, len(whole) - 8)] = chance.randrange(256)
        head, answer = pool.ask({"task": "table", "rows": 200}, bytes(bent))
        assert ("note" in head or "rows" in head) and len(answer) < _ANSWERED
    assert asked(pool, whole, task="table", rows=5)["rows"] == 300


def test_a_dicom_file_that_inflates_beyond_memory_is_nothing_that_is_known(pool: DecodingPool) -> None:
    plain = dicom(DeflatedExplicitVRLittleEndian, 4, 4, 1, bytes(16))
    head = plain[: 132 + 12 + struct.unpack("<I", plain[140:144])[0]]  # the file meta information
    bomb = head + inflating(50)  # 0.8 GB
    assert len(bomb) < 8 << 20
    assert isinstance(probed(bomb), Unknown)
    assert asked(pool, bomb, task="picture", size=320)["note"]


@pytest.mark.parametrize(
    ("rows", "columns", "frames"), [(60_000, 60_000, 1), (7000, 7000, 2_000_000_000), (65_535, 1, 1), (64, 64, 1000)]
)
def test_pixels_that_are_claimed_and_not_there_are_told(
    pool: DecodingPool, rows: int, columns: int, frames: int
) -> None:
    body = dicom(ExplicitVRLittleEndian, rows, columns, frames, bytes(4096))
    facts = probed(body)
    assert isinstance(facts, Facts)
    assert (facts.height, facts.width, facts.frames) == (rows, columns, frames)
    assert asked(pool, body, task="picture", size=320, frame=frames - 1)["note"]


def test_a_picture_within_a_file_that_is_larger_than_the_file_says_is_bounded_as_well(pool: DecodingPool) -> None:
    out = io.BytesIO()
    Image.new("L", (64, 64)).save(out, "JPEG")
    large = bytearray(out.getvalue())
    place = large.index(b"\xff\xc0") + 5
    large[place : place + 4] = struct.pack(">HH", 65_500, 65_500)
    told = asked(pool, dicom(JPEGBaseline8Bit, 64, 64, 1, encapsulate([bytes(large)])), task="picture", size=320)
    assert told["note"]
    png = io.BytesIO()
    Image.new("1", (25_000, 25_000)).save(png, "PNG")
    entry = struct.pack("<BBBBHHII", 64, 64, 0, 0, 1, 32, len(png.getvalue()), 22)
    icon = struct.pack("<HHH", 0, 1, 1) + entry + png.getvalue()
    asked(pool, icon, task="picture", size=320)
    text = zlib.compress(bytes(24 << 20), 9)
    chunk = b"zTXt" + b"a\0\0" + text
    plain = picture(2)
    loud = plain[:33] + struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk)) + plain[33:]
    asked(pool, loud, task="picture", size=320)
    assert isinstance(probed(loud), Facts | Unknown)
