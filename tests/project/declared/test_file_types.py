"""The type of a file is told by its content."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from penstock.errors import UsageError
from penstock.project.declared.file_types import FORMATS, check_format, suffix_of


def picture(kind):
    stream = io.BytesIO()
    Image.new("RGB", (2, 2)).save(stream, kind)
    return stream.getvalue()


def array():
    stream = io.BytesIO()
    np.save(stream, np.zeros(3))
    return stream.getvalue()


SAMPLES = {
    "png": picture("PNG"),
    "jpg": picture("JPEG"),
    "tif": picture("TIFF"),
    "webp": picture("WEBP"),
    "wav": b"RIFF\x24\0\0\0WAVEfmt ",
    "mp3": b"ID3\x03",
    "mp4": b"\0\0\0\x18ftypmp42",
    "json": b'{"a": [1, 2]}',
    "csv": b"a,b\n1,2\n",
    "parquet": b"PAR1....",
    "npy": array(),
    "txt": "grüße".encode(),
    "pdf": b"%PDF-1.7\n",
    "dicom": bytes(128) + b"DICM",
    "nifti": bytes(344) + b"n+1\0",
}


@pytest.mark.parametrize("name", FORMATS)
def test_each_type_is_known_by_its_content(name):
    assert check_format(SAMPLES[name], [name]) == name
    assert check_format(SAMPLES[name], ["pdf", name]) == name


@pytest.mark.parametrize("name", sorted(FORMATS.keys() - {"txt", "csv"}))
def test_a_picture_that_is_called_otherwise_is_no_such_file(name):
    other = "jpg" if name == "png" else "png"
    with pytest.raises(UsageError, match=f"no {name}"):
        check_format(SAMPLES[other], [name])


def test_what_it_is_instead_is_said():
    with pytest.raises(UsageError, match=r"no png or jpg: its content is pdf"):
        check_format(SAMPLES["pdf"], ["png", "jpg"])
    with pytest.raises(UsageError, match="it is empty"):
        check_format(b"", ["png"])


def test_a_type_of_ones_own_takes_anything():
    assert check_format(b"\0\1", ["tar"]) == "tar"
    assert suffix_of("tar", b"") == "tar"


def test_names_end_as_the_content_says():
    assert suffix_of("nifti", b"\x1f\x8b") == "nii.gz"
    assert suffix_of("dicom", b"") == "dcm"
