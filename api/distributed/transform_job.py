"""What every task of a transform has to know, pickled once; and what of it makes a result another one. Pure."""

from __future__ import annotations

import pickle
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

import msgspec

from penstock.api.files.function_call import CallPlan, Promise, plan_call, promise_of
from penstock.api.handles import Handle
from penstock.api.packages.package import Package
from penstock.api.settings import Settings
from penstock.errors import UsageError
from penstock.manifest.hashing import content_hash
from penstock.repo.parts.part_record import PartSet

__all__ = ["By", "TransformJob", "call_plan", "pack_job", "unpack_job"]

By = Literal["file", "record", "shard"]
"""What a function is called for: each file; each group of files of one stem; each shard as a whole."""

_OFFERED = ("input_dir", "output_dir", "key", "metadata")
_OF_SHARDS = ("number", "of")


@dataclass(frozen=True, slots=True)
class TransformJob:
    """One transform of `source` into `target`. `function` is the hash of the function with its parameters.

    `base` is the top hash of the version that outputs are merged into, and `held` the inputs' hashes of outputs that
    it has already. `of`: how many shards there are, where the function is called for shards.
    """

    source: Package
    target: Handle
    settings: Settings
    fn: Callable[..., Any]
    plan: CallPlan
    promise: Promise | None
    parameters: Mapping[str, Any]
    by: By
    function: bytes
    of: int
    timeout: float | None
    held: frozenset[bytes]

    @property
    def part_set(self) -> PartSet:
        """The set that the parts of all tasks belong to, also of a run that was cut off."""
        assert self.target.dataset is not None
        return PartSet.of("transform", self.target.dataset, self.by, self.function)

    @property
    def wants_metadata(self) -> bool:
        """Whether the function sees the metadata of its input, so that it counts."""
        return self.plan.takes_all or "metadata" in self.plan.names


def call_plan(fn: Callable[..., Any], parameters: Mapping[str, Any], by: By) -> tuple[CallPlan, Promise | None]:
    """Decide how a function is called. UsageError: it names what there is not, or a parameter that is given anyway."""
    offered = (*_OFFERED, *(_OF_SHARDS if by == "shard" else ()))
    if taken := sorted(set(offered) & parameters.keys()):
        raise UsageError(
            f"a parameter cannot be called {taken[0]!r}", fix="Functions are given that already: rename it."
        )
    return plan_call(fn, (*offered, *parameters), "input_dir"), promise_of(fn)


def pack_job(job: TransformJob) -> bytes:
    """Pickle a job: the function by its name, or by its code where it has none that another process could import."""
    by_code = _code_pickler()
    try:
        if by_code is not None:
            packed: bytes = by_code.dumps(job)
            return packed
        if getattr(job.fn, "__module__", None) != "__main__":  # another process has another module of that name
            return pickle.dumps(job)
        why = "it is defined in the program itself"
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        why = str(error)
    raise UsageError(
        "the function cannot be sent to another process",
        why=why,
        fix="Define it at the top of a module that workers can import, or install cloudpickle.",
    )


def _code_pickler() -> Any:
    """Return cloudpickle, which comes with Dask, or the copy of an engine that is in use; None: there is none."""
    try:
        import cloudpickle  # pyright: ignore[reportMissingImports]  # an extra

        return cloudpickle
    except ImportError:
        return sys.modules.get("ray.cloudpickle") or sys.modules.get("pyspark.cloudpickle")


@lru_cache(maxsize=4)
def unpack_job(packed: bytes) -> TransformJob:
    """Return a job that was pickled: in each process once, so that what it reads through is opened once."""
    job: TransformJob = pickle.loads(packed)  # noqa: S301  # by whoever starts the tasks
    return job


class InputRecord(msgspec.Struct, frozen=True, array_like=True):
    """What an input is: equal inputs need not be done twice."""

    files: tuple[tuple[bytes, bytes, bytes], ...]
    shard: tuple[int, int] | None

    def digest(self) -> bytes:
        """Return its hash."""
        return content_hash(msgspec.msgpack.encode(self))
