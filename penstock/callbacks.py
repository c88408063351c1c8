"""Stamps of what was trained on, where training keeps its records: MLflow, W&B, Lightning, Hugging Face.

    from penstock import callbacks

    callbacks.log_to_mlflow()                                  # in a run of MLflow: tags, and penstock.json
    callbacks.log_to_wandb()                                   # the same in a run of Weights & Biases
    Trainer(callbacks=[callbacks.lightning("resnet-50")])      # into each checkpoint; the run into the bucket
    Trainer(..., callbacks=[callbacks.transformers("bert")])   # penstock.json beside each checkpoint

Each needs its library, which is imported when it is called. **Invariant:** what cannot be recorded is a warning: no
training fails for it.
"""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Mapping
from importlib import import_module
from typing import Any

from penstock.api.runs.recording import record_run
from penstock.api.runs.stamp import stamp
from penstock.errors import PenstockError, UsageError

__all__ = ["lightning", "log_to_mlflow", "log_to_wandb", "transformers"]

_FILE = "penstock.json"
_KEY = "penstock"
_MOST_TAG = 500


def _library(name: str, extra: str) -> Any:
    try:
        return import_module(name)
    except ModuleNotFoundError as missing:
        if (missing.name or "").partition(".")[0] != name.partition(".")[0]:
            raise
        raise UsageError(
            f"{name} is not installed", why="its callback needs it", fix=f"pip install 'penstock[{extra}]'"
        ) from missing


def _versions(told: Mapping[str, Any]) -> dict[str, str]:
    """Return the versions of a stamp in short, by dataset: what a table of runs has room for."""
    found: dict[str, list[str]] = {}
    for each in told["opened"]:
        place = found.setdefault(f"{_KEY}.{each['dataset']}", [])
        if each["top_hash"] not in place:
            place.append(each["top_hash"])
    return {name: " ".join(tops)[:_MOST_TAG] for name, tops in found.items()}


def _record(name: str, told: Mapping[str, Any], options: Mapping[str, Any]) -> None:
    if not told["opened"]:
        warnings.warn("penstock: nothing was opened by Penstock in this run, and none is recorded", stacklevel=3)
        return
    try:
        record_run(name, stamp=told, **options)
    except PenstockError as error:
        warnings.warn(f"penstock: the run is not recorded in the bucket: {error}", stacklevel=3)


def log_to_mlflow(*, record: bool = False, **options: Any) -> dict[str, Any]:
    """Put a stamp into the run of MLflow that is active: as penstock.json, and versions as tags; return it.

    `record`: record the run in the buckets as well, with MLflow's name and address of it; `options` as of
    `penstock.record_run`.
    """
    mlflow = _library("mlflow", "mlflow")
    told = stamp()
    active = mlflow.active_run()
    if active is None:
        raise UsageError("no run of MLflow is active", fix="with mlflow.start_run(): …")
    mlflow.log_dict(told, _FILE)
    mlflow.set_tags(_versions(told))
    if record:
        info = active.info
        options.setdefault("url", f"{mlflow.get_tracking_uri()}#/experiments/{info.experiment_id}/runs/{info.run_id}")
        _record(options.pop("name", info.run_name or info.run_id), told, options)
    return told


def log_to_wandb(run: Any = None, *, record: bool = False, **options: Any) -> dict[str, Any]:
    """Put a stamp into a run of Weights & Biases, by default the active one: as its config's ``penstock``; return it.

    `record` and `options` as of `log_to_mlflow`.
    """
    wandb = _library("wandb", "wandb")
    run = run if run is not None else wandb.run
    if run is None:
        raise UsageError("no run of Weights & Biases is active", fix="wandb.init() begins one.")
    told = stamp()
    # As text: a config that is nested is flattened there, and a stamp has lists.
    run.config.update({_KEY: json.dumps(told), **_versions(told)}, allow_val_change=True)
    if record:
        options.setdefault("url", getattr(run, "url", None) or "")
        _record(options.pop("name", None) or run.name or run.id, told, options)
    return told


def lightning(name: str = "", *, record: bool = True, **options: Any) -> Any:
    """Return a callback for a Trainer of Lightning: a stamp in each checkpoint, as its ``penstock``.

    When training has ended the run is recorded in the buckets, unless `record` is False; `options` as of
    `penstock.record_run`.
    """
    try:
        base = _library("lightning.pytorch", "lightning").Callback
    except UsageError:
        base = _library("pytorch_lightning", "lightning").Callback

    class _Stamping(base):  # type: ignore[misc,valid-type]  # of the library that is there
        def on_save_checkpoint(self, trainer: Any, module: Any, checkpoint: dict[str, Any]) -> None:  # noqa: ARG002
            checkpoint[_KEY] = stamp()

        def on_fit_end(self, trainer: Any, module: Any) -> None:  # noqa: ARG002  # as Lightning calls it
            if record and trainer.is_global_zero:
                _record(name, stamp(), options)

        def __reduce__(self) -> tuple[object, ...]:
            return _made, (lightning, name, record, options)

    return _Stamping()


def transformers(name: str = "", *, record: bool = True, **options: Any) -> Any:
    """Return a callback for the Trainer of Hugging Face: penstock.json beside each checkpoint, and in the output.

    When training has ended the run is recorded in the buckets, unless `record` is False; `options` as of
    `penstock.record_run`.
    """
    base = _library("transformers", "transformers").TrainerCallback

    class _Stamping(base):  # type: ignore[misc,valid-type]  # of the library that is there
        def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:  # noqa: ARG002
            if state.is_world_process_zero:
                _write(os.path.join(args.output_dir, f"checkpoint-{state.global_step}"))

        def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:  # noqa: ARG002
            if not state.is_world_process_zero:
                return
            told = _write(args.output_dir)
            if record:
                _record(name or os.path.basename(os.path.abspath(args.output_dir)), told, options)

        def __reduce__(self) -> tuple[object, ...]:
            return _made, (transformers, name, record, options)

    return _Stamping()


def _made(make: Any, name: str, record: bool, options: dict[str, Any]) -> Any:
    return make(name, record=record, **options)


def _write(directory: str) -> dict[str, Any]:
    told = stamp()
    try:
        os.makedirs(directory, exist_ok=True)
        with open(os.path.join(directory, _FILE), "w", encoding="utf-8") as file:
            json.dump(told, file, indent=1)
    except OSError as error:
        warnings.warn(f"penstock: {_FILE} cannot be written into {directory}: {error}", stacklevel=3)
    return told
