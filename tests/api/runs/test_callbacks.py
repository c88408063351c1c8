"""Stamps in MLflow, Weights & Biases, Lightning and the Hugging Face Trainer: offline, where each is installed."""

from __future__ import annotations

import json
import os
import pickle
import runpy
from pathlib import Path
from typing import Any

import pytest

import penstock
from penstock import callbacks
from penstock.errors import UsageError

pytestmark = [pytest.mark.filterwarnings("ignore"), pytest.mark.filterwarnings("error:penstock")]


@pytest.fixture
def photos(world: Path) -> penstock.Package:
    return penstock.open("demo/photos:v1")


def prepare_torchvision() -> None:
    """Have torchvision load, which some libraries import: by itself it does not beside a PyTorch without CUDA."""
    runpy.run_path(str(Path(__file__).parents[2] / "torchvision_ops" / "sitecustomize.py"))


def tops(told: dict[str, Any]) -> list[str]:
    return [each["top_hash"] for each in told["opened"]]


def test_a_library_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)

    monkeypatch.setattr(callbacks, "import_module", missing)
    for make, extra in (
        (callbacks.log_to_mlflow, "mlflow"),
        (callbacks.log_to_wandb, "wandb"),
        (callbacks.lightning, "lightning"),
        (callbacks.transformers, "transformers"),
    ):
        with pytest.raises(UsageError, match=rf"penstock\[{extra}\]"):
            make()


def test_mlflow(photos: penstock.Package, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    mlflow.set_tracking_uri(f"file://{tmp_path}/tracking")
    with pytest.raises(UsageError, match="no run of MLflow"):
        callbacks.log_to_mlflow()
    with mlflow.start_run(run_name="cats") as run:
        callbacks.log_to_mlflow(record=True, parameters={"lr": 0.1})
    kept = mlflow.get_run(run.info.run_id)
    assert photos.top_hash in kept.data.tags["penstock.photos"]
    (file,) = (tmp_path / "tracking").rglob("penstock.json")
    assert photos.top_hash in tops(json.loads(file.read_text()))
    (recorded,) = penstock.Dataset("demo/photos").runs("v1")
    assert (recorded.name, recorded.parameters) == ("cats", {"lr": 0.1})
    assert run.info.run_id in recorded.url


def test_wandb(photos: penstock.Package, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wandb = pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_DIR", str(tmp_path))
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    with pytest.raises(UsageError, match="is active"):
        callbacks.log_to_wandb()
    with wandb.init(project="cats", dir=str(tmp_path)) as run:
        callbacks.log_to_wandb(record=True, name="cats")
        assert photos.top_hash in tops(json.loads(run.config["penstock"]))
        assert photos.top_hash in run.config["penstock.photos"]
    (recorded,) = penstock.Dataset("demo/photos").runs("v1")
    assert recorded.name == "cats"


def test_lightning(photos: penstock.Package, tmp_path: Path) -> None:
    prepare_torchvision()
    lightning = pytest.importorskip("lightning.pytorch")
    torch = pytest.importorskip("torch")

    class Module(lightning.LightningModule):  # type: ignore[misc,name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.layer = torch.nn.Linear(2, 1)

        def training_step(self, batch: Any, index: int) -> Any:
            return self.layer(batch[0]).sum()

        def configure_optimizers(self) -> Any:
            return torch.optim.SGD(self.parameters(), lr=0.1)

    data = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(torch.zeros(4, 2)), batch_size=2)
    callback = callbacks.lightning("cats", url="https://example.org")
    trainer = lightning.Trainer(
        max_epochs=1, logger=False, accelerator="cpu", default_root_dir=tmp_path, callbacks=[callback],
        enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip
    trainer.fit(Module(), data)
    (path,) = tmp_path.rglob("*.ckpt")
    kept = torch.load(path, weights_only=True)
    assert photos.top_hash in tops(kept["penstock"])
    (recorded,) = penstock.Dataset("demo/photos").runs("v1")
    assert (recorded.name, recorded.url) == ("cats", "https://example.org")
    assert isinstance(pickle.loads(pickle.dumps(callback)), lightning.Callback)


def test_transformers(photos: penstock.Package, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    prepare_torchvision()
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    transformers = pytest.importorskip("transformers")
    pytest.importorskip("accelerate")
    torch = pytest.importorskip("torch")

    class Model(torch.nn.Module):  # type: ignore[misc,name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.layer = torch.nn.Linear(2, 1)

        def forward(self, x: Any = None, labels: Any = None) -> dict[str, Any]:
            return {"loss": ((self.layer(x) - labels) ** 2).mean()}

    rows = [{"x": torch.zeros(2), "labels": torch.zeros(1)} for _ in range(4)]
    arguments = transformers.TrainingArguments(
        output_dir=str(tmp_path / "out"), max_steps=2, save_steps=1, report_to=[], use_cpu=True, disable_tqdm=True
    )
    callback = callbacks.transformers("cats")
    transformers.Trainer(model=Model(), args=arguments, train_dataset=rows, callbacks=[callback]).train()
    for where in ("checkpoint-1", "checkpoint-2", ""):
        told = json.loads((tmp_path / "out" / where / "penstock.json").read_text())
        assert photos.top_hash in tops(told)
    (recorded,) = penstock.Dataset("demo/photos").runs("v1")
    assert recorded.name == "cats"
    assert os.path.isdir(tmp_path / "out" / "checkpoint-2")


def test_a_record_that_cannot_be_made_fails_no_training(
    photos: penstock.Package, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("penstock.api.runs.recording.default_author", lambda: "x" * 100_000)
    with pytest.warns(UserWarning, match="is not recorded in the bucket"):
        callbacks._record("cats", penstock.stamp(), {})
