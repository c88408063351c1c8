"""Cases for a server's interface, made of its OpenAPI document by schemathesis: right ones, and wrong ones.

What is asked about is mostly there: where a path names a bucket or a dataset, one that exists is put in for most cases,
so that requests come further than to the first refusal.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis.core.result import Ok
from schemathesis.generation import GenerationMode

__all__ = ["ApiReport", "ask_cases"]

_MOST_SECONDS = 60.0


@dataclass
class ApiReport:
    """What was asked, and what was answered. `faults` are errors of the server, and answers that never came."""

    cases: int = 0
    slowest: float = 0.0
    statuses: dict[int, int] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)


def ask_cases(url: str, cases: int, known: Mapping[str, str], *, seed: int = 0) -> ApiReport:
    """Ask a server about as many cases as that, spread over what it can be asked; `known` are values of paths."""
    schema = schemathesis.openapi.from_url(f"{url}/openapi.json")
    schema.config.generation.update(modes=[GenerationMode.POSITIVE, GenerationMode.NEGATIVE])
    operations: list[Any] = [found.ok() for found in schema.get_all_operations() if isinstance(found, Ok)]
    report, chance = ApiReport(), random.Random(seed)
    for number, operation in enumerate(operations):
        count = cases * (number + 1) // len(operations) - cases * number // len(operations)
        if count:
            _ask(operation, count, _asker(url, known, chance, report))
    return report


def _ask(operation: Any, count: int, ask: Callable[[Any], None]) -> None:
    @settings(
        max_examples=count,
        database=None,
        deadline=None,
        derandomize=True,
        phases=[Phase.generate],
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large],
    )
    @given(case=operation.as_strategy())
    def run(case: Any) -> None:
        ask(case)

    run()


def _asker(url: str, known: Mapping[str, str], chance: random.Random, report: ApiReport) -> Callable[[Any], None]:
    def ask(case: Any) -> None:
        for name, value in known.items():
            if name in (case.path_parameters or {}) and chance.random() < 0.7:
                case.path_parameters[name] = value
        begun = time.monotonic()
        what = f"{case.method} {case.formatted_path}"
        try:
            status = case.call(base_url=url, timeout=_MOST_SECONDS).status_code
        except Exception as error:  # noqa: BLE001  # whatever it is, there was no answer
            report.faults.append(f"{what}: {type(error).__name__}: {error}"[:300])
            return
        finally:
            report.cases += 1
            report.slowest = max(report.slowest, time.monotonic() - begun)
        report.statuses[status] = report.statuses.get(status, 0) + 1
        if status >= 500:
            report.faults.append(f"{status}: {what} {case.query} {str(case.body)[:100]}")

    return ask
