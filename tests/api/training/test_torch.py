"""`penstock.torch` with PyTorch itself: its DataLoader, workers that are forked and spawned; and without it."""

from __future__ import annotations

import doctest
import os
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from views.samples import decode_text, key_and_data

import penstock
from penstock.api.training import datasets

FILES = {f"{kind}/{at:02}.bin": f"{kind} {at}".encode() for kind in ("cat", "dog") for at in range(30)}
KEYS = sorted(FILES)


@pytest.fixture
def torch(world: Path) -> Any:
    """Return `penstock.torch`, where there is a dataset `demo/pets`; skipped where PyTorch is not installed."""
    pytest.importorskip("torch")
    from penstock import torch

    for name, data in FILES.items():
        (world / "pets" / name).parent.mkdir(parents=True, exist_ok=True)
        (world / "pets" / name).write_bytes(data)
    penstock.Dataset("demo/pets").push("pets")
    return torch


def loaded(loader: Any) -> list[tuple[str, str]]:
    return [pair for keys, texts in loader for pair in zip(keys, texts, strict=True)]


def both(torch: Any, method: str, workers: int) -> tuple[Any, Any, Any, Any]:
    """Return a sampler with the DataLoader of its dataset, and an iterable dataset with its own."""
    from torch.utils.data import DataLoader

    options: Any = {"num_workers": workers, "batch_size": 8, "multiprocessing_context": method}
    dataset = torch.Dataset("demo/pets", decode=decode_text, transform=key_and_data)
    sampler = torch.Sampler(dataset, seed=4, rank=0, ranks=1)
    stream = torch.IterableDataset("demo/pets", decode=decode_text, transform=key_and_data, seed=4, batch_size=8)
    loader = DataLoader(dataset, sampler=sampler, **options)
    return sampler, loader, stream, DataLoader(stream, persistent_workers=True, **options)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_dataloader_gives_the_order_that_the_sampler_or_the_iterable_dataset_has(torch: Any) -> None:
    sampler, loader, stream, streaming = both(torch, "fork", 2)
    orders = []
    for epoch in range(2):
        sampler.set_epoch(epoch)
        stream.set_epoch(epoch)
        found = loaded(loader)
        assert loaded(streaming) == found
        assert sorted(found) == [(key, FILES[key].decode()) for key in KEYS]
        orders.append(found)
    assert orders[0] != orders[1]
    stream.load_state_dict(sampler.state_dict(taken=40))
    stream.set_epoch(1)
    assert loaded(streaming) == orders[1][40:]


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_workers_that_are_spawned_and_persist_are_told_of_the_next_epoch(torch: Any) -> None:
    sampler, _, stream, streaming = both(torch, "spawn", 1)
    for epoch in range(2):
        sampler.set_epoch(epoch)
        stream.set_epoch(epoch)
        assert [key for key, _ in loaded(streaming)] == [KEYS[number] for number in sampler]


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_ranks_are_what_has_started_the_process_says(torch: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    dataset = torch.Dataset("demo/pets")
    assert list(torch.Sampler(dataset, shuffle=False)) == list(range(1, 60, 2))
    assert list(torch.Sampler(dataset, shuffle=False, rank=0, ranks=1)) == list(range(60))
    assert len(torch.IterableDataset("demo/pets")) == 30


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_they_are_datasets_of_pytorch_and_can_be_pickled(torch: Any) -> None:
    from torch.utils import data

    stream = torch.IterableDataset("demo/pets", shuffle=False)
    assert isinstance(stream, data.IterableDataset)
    assert isinstance(torch.Dataset("demo/pets"), data.Dataset)
    stream.set_epoch(3)
    again = pickle.loads(pickle.dumps(stream))
    assert again.state_dict() == stream.state_dict()
    assert next(iter(again)).key == KEYS[0]


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_examples_do_what_they_show(torch: Any, capsys: pytest.CaptureFixture[str]) -> None:
    runner = doctest.DocTestRunner()
    found = [test for test in doctest.DocTestFinder().find(datasets, "datasets") if test.examples]
    assert {test.name.rpartition(".")[2] for test in found} == {"FileSequence", "EpochSampler", "FileStream"}
    for test in found:
        runner.run(test, out=print)
    assert runner.failures == 0, capsys.readouterr().out


def test_without_pytorch_an_error_names_the_extra(tmp_path: Path) -> None:
    program = "import sys; sys.modules['torch'] = None; import penstock.torch"
    path = os.pathsep.join([str(Path(penstock.__file__).parent.parent), *filter(None, [os.environ.get("PYTHONPATH")])])
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": path},
    )
    assert done.returncode == 1
    assert done.stderr.endswith("penstock.torch needs PyTorch, which is not installed: pip install 'penstock[torch]'\n")
