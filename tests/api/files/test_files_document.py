"""The owner's document about file datasets, replayed: its samples run as written, but for the slips listed here."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from servers.rgw import RadosGateway

from penstock import FileDataset

DOCUMENT = Path(__file__).resolve().parents[2] / "documents" / "files.md"
SLIPS = {
    "working_dir / ": ("input_dir / ", "the function's parameter is called input_dir"),
    '"input.mha"': ('"image.mha"', "the samples that call it give it image.mha"),
    "sitk.ResampleImage(image)": ("sitk.Resample(image)", "SimpleITK calls it so"),
    "boto3.Session().get_frozen_credentials()": (
        "boto3.Session().get_credentials().get_frozen_credentials()",
        "a session of boto3 has credentials, and those can be frozen",
    ),
    '# Returns: {"image.mha"': ('# Returns: {"resampled_image.mha"', "what is returned has the names that were given"),
    "/image.mha": ("/resampled_image.mha", "the same, in the address"),
}
"""Words of the document that are others here, and why; the last two in lines that say what is returned."""
UNIQUE = "abcd-01234-56789"


def samples() -> list[tuple[str, str | None]]:
    """Return the samples, mended, each with what it says that it returns."""
    found = []
    for text in re.findall(r"```python\n(.*?)```", DOCUMENT.read_text(), re.DOTALL):
        lines = []
        for line in text.splitlines():
            for word, (ours, reason) in SLIPS.items():
                assert reason
                if not word.startswith(("#", "/")) or line.startswith("# Returns"):
                    line = line.replace(word, ours)
            lines.append(line)
        returns = next((line.removeprefix("# Returns: ") for line in lines if line.startswith("# Returns")), None)
        found.append(("\n".join(lines), returns))
    return found


def run(text: str, names: dict[str, Any]) -> Any:
    """Run a sample, and return the value of its last statement."""
    tree = ast.parse(text)
    last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
    exec(compile(tree, str(DOCUMENT), "exec"), names)
    return eval(compile(ast.Expression(last.value), str(DOCUMENT), "eval"), names) if last is not None else None


@pytest.fixture
def names(gateway: RadosGateway, aws_environment: dict[str, str], here: Path) -> Iterator[dict[str, Any]]:
    """Return what the samples take for granted: modules, a bucket with three images, an image here."""
    sitk = pytest.importorskip("SimpleITK")
    bucket = boto3.resource("s3").Bucket("my-bucket")
    bucket.create()
    for number in (0, 1, 2, 3):
        image = sitk.GetImageFromArray([[float(number), 1.0], [2.0, 3.0]])
        sitk.WriteImage(image, "resampled_image.mha")
        bucket.upload_file("resampled_image.mha", f"image{number or ''}.mha")
    yield {"FileDataset": FileDataset, "boto3": boto3, "pandas": pytest.importorskip("pandas"), "Path": Path}
    bucket.objects.delete()
    bucket.delete()
    bucket.meta.client.close()


@pytest.mark.s3
def test_the_samples_of_the_document_do_what_it_says(names: dict[str, Any], here: Path) -> None:
    sitk = pytest.importorskip("SimpleITK")
    texts = samples()
    assert len(texts) == 5
    whole = "".join(re.findall(r"```python\n(.*?)```", DOCUMENT.read_text(), re.DOTALL))
    assert [word for word in SLIPS if word not in whole] == []
    for text, returns in texts:
        value = run(text, names)
        if returns is None:
            continue
        said = eval(returns, {"Path": Path})
        assert value.keys() == said.keys()
        for name, place in said.items():
            assert type(value[name]) in (type(place), type(Path()))
            before, after = str(place).split(UNIQUE)
            assert re.fullmatch(re.escape(before) + r"[0-9a-f-]{36}" + re.escape(after), str(value[name]))
            if isinstance(value[name], Path):
                assert value[name].read_bytes() == (here / "resampled_image.mha").read_bytes()
    assert list(names["local_output"]) == ["resampled_image.mha"]
    assert not names["tmp"].exists()
    frame = value
    assert list(frame["id"]) == [1, 2, 3]
    assert list(frame["error"]) == [None, None, None]
    assert list(frame["output.mha"]) == [f"s3://my-bucket/resampled/{number}/output.mha" for number in (1, 2, 3)]
    for number, place in zip((1, 2, 3), frame["output.mha"], strict=True):
        with FileDataset().downloader({"made.mha": place}).into_temp_dir() as folder:
            made = sitk.GetArrayFromImage(sitk.ReadImage(folder / "made.mha"))
            assert made.tolist() == [[float(number), 1.0], [2.0, 3.0]]
