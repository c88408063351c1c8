"""Files of the kinds that a viewer has to show, made here: video, sound, tables, DICOM, labels of a whole directory."""

from __future__ import annotations

import io
import json
import math
import struct
import wave
from fractions import Fraction

from .pictures import labels_of, picture

__all__ = ["dicom", "parquet", "sound", "video", "viewed_files"]


def video(frames: int = 60, rate: int = 25, *, skipped: range = range(0)) -> bytes:
    """Return a video whose frames can be told apart: a bar walks over them.

    Frames that are `skipped` leave a gap in its times, so that its rate is not constant.
    """
    import av
    import numpy as np

    out = io.BytesIO()
    with av.open(out, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=rate)
        stream.width, stream.height, stream.pix_fmt = 320, 180, "yuv420p"
        stream.time_base = Fraction(1, rate)
        for number in range(frames):
            if number in skipped:
                continue
            image = np.full((180, 320, 3), 40 + number % 5 * 8, np.uint8)
            place = number * 37 % 300
            image[:, place : place + 20] = (240, 200, 60)
            image[number % 12 * 14 : number % 12 * 14 + 14, :] = (70, 120, 220)
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, rate)
            for packet in stream.encode(frame):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)
    return out.getvalue()


def sound(seconds: float = 2) -> bytes:
    """Return a tone as WAV."""
    out = io.BytesIO()
    with wave.open(out, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(8000)
        count = int(8000 * seconds)
        file.writeframes(struct.pack(f"<{count}h", *(int(9000 * math.sin(at / 6)) for at in range(count))))
    return out.getvalue()


def parquet(rows: int = 300) -> bytes:
    """Return a table of columns with several types."""
    import pyarrow as pa  # pyright: ignore[reportMissingImports]  # an extra
    from pyarrow import parquet as form  # pyright: ignore[reportMissingImports]

    out = io.BytesIO()
    columns = {
        "image": [f"meadow-{number:03}.png" for number in range(rows)],
        "score": [number / rows for number in range(rows)],
        "tags": [["ball", "kite"][: number % 3] for number in range(rows)],
    }
    form.write_table(pa.table(columns), out)
    return out.getvalue()


def dicom(frames: int = 1, *, window: tuple[int, int] | None = (1000, 2000)) -> bytes:
    """Return slices of a ball, in grey levels of 12 bits."""
    import numpy as np
    from pydicom.dataset import FileDataset, FileMetaDataset
    from pydicom.uid import UID, ExplicitVRLittleEndian

    y, x = np.mgrid[0:128, 0:160]
    near = [np.hypot(x - 80, y - 64) < 50 * math.cos(1.2 * number / max(frames, 1)) for number in range(frames)]
    values = np.stack([np.where(each, 1500 + x * 5, 200 + y).astype("uint16") for each in near])
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = UID("1.2.840.10008.5.1.4.1.1.2")
    meta.MediaStorageSOPInstanceUID = UID("1.2.3.4")
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    file = FileDataset("x", {}, file_meta=meta, preamble=b"\0" * 128)
    file.SOPClassUID, file.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    file.PatientName, file.Modality, file.SeriesInstanceUID = "Phantom^<b>Ball</b>", "CT", "1.2.3"
    file.Rows, file.Columns, file.NumberOfFrames = 128, 160, frames
    file.SamplesPerPixel, file.PhotometricInterpretation = 1, "MONOCHROME2"
    file.BitsAllocated, file.BitsStored, file.HighBit, file.PixelRepresentation = 16, 12, 11, 0
    if window is not None:
        file.WindowCenter, file.WindowWidth = window
    file.PixelData = values.tobytes()
    out = io.BytesIO()
    file.save_as(out, enforce_file_format=True)
    return out.getvalue()


def viewed_files() -> dict[str, bytes]:
    """Return one file of each kind, and a directory whose labels stand in one COCO document."""
    names = [f"meadow-{number:03}.jpg" for number in range(4)]
    boxes = [
        {"image_id": number, "category_id": 1 + (label["category"] == "kite"), "bbox": label["bbox"]}
        for number in range(4)
        for label in labels_of(number)
    ]
    # An ellipse in COCO's packed runs, as pycocotools writes it, and a polygon.
    mask = {"size": [240, 320], "counts": _packed(_runs_of_ellipse(240, 320, 160, 120, 70, 40))}
    polygon = {"image_id": 0, "category_id": 2, "segmentation": [[20, 20, 120, 30, 90, 110, 30, 90]]}
    coco = {
        "images": [{"id": number, "file_name": name} for number, name in enumerate(names)],
        "annotations": [*boxes, {"image_id": 0, "category_id": 3, "segmentation": mask}, polygon],
        "categories": [{"id": 1, "name": "ball"}, {"id": 2, "name": "kite"}, {"id": 3, "name": "pond"}],
    }
    return {
        **{f"labelled/{name}": picture(number, "JPEG") for number, name in enumerate(names)},
        "labelled/_annotations.coco.json": json.dumps(coco).encode(),
        "steady.mp4": video(),
        "gaps.mp4": video(90, skipped=range(20, 50)),
        "tone.wav": sound(),
        "table.parquet": parquet(),
        "table.csv": b"name;count\nballs;12\nkites;7\n",
        "lines.jsonl": b'{"a": 1, "b": [1, 2]}\n{"a": 2}\n',
        "nested.json": json.dumps({"colours": ["#7fae86"], "made": {"by": "a test", "on": 2026}}).encode(),
        "slices.dcm": dicom(6),
        "scan": dicom(1, window=None),
        "notes.txt": "Größe: 3 × 4\n".encode(),
        "README.md": b"# All kinds\n\nOne file of each kind that a page shows.\n",
    }


def _runs_of_ellipse(height: int, width: int, x: int, y: int, across: int, down: int) -> list[int]:
    flat = [
        ((column - x) / across) ** 2 + ((row - y) / down) ** 2 < 1 for column in range(width) for row in range(height)
    ]
    runs, inside, count = [], False, 0
    for each in flat:
        if each is not inside:
            runs.append(count)
            inside, count = each, 0
        count += 1
    return [*runs, count]


def _packed(runs: list[int]) -> str:
    letters = []
    for place, run in enumerate(runs):
        left = run - (runs[place - 2] if place > 2 else 0)
        more = True
        while more:
            bits = left & 31
            left >>= 5
            more = left != -1 if bits & 16 else left != 0
            letters.append(chr(48 + (bits | (32 if more else 0))))
    return "".join(letters)
