"""Errors as answers: each kind of `penstock.errors` has a status, and the body says what, why and what to do."""

from __future__ import annotations

from typing import Any

import msgspec
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response

from penstock.error_form import ErrorForm, to_form
from penstock.errors import PenstockError

from .callers import NotSignedInError, TooManyError

__all__ = ["add_error_answers", "json_answer"]

_STATUS = {
    "usage": 400,
    "ambiguous": 404,
    "not_found": 404,
    "merge_conflict": 409,
    "conflict": 409,
    "format_too_new": 502,
    "integrity": 502,
    "access": 403,
    "unreadable": 409,
    "unreachable": 503,
    "cancelled": 409,
    "failed": 500,
}


def json_answer(value: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """Return a value as JSON: structures, dataclasses, times, enumerations."""
    return Response(msgspec.json.encode(value), status, headers, "application/json")


def _form_answer(form: ErrorForm, status: int, headers: dict[str, str] | None = None) -> Response:
    return json_answer({"error": msgspec.structs.asdict(form)}, status, headers)


def error_answer(error: PenstockError) -> Response:
    """Return an error as an answer."""
    form = to_form(error)
    if isinstance(error, NotSignedInError):
        return _form_answer(form, 401, {"WWW-Authenticate": "Bearer"})
    if isinstance(error, TooManyError):
        return _form_answer(form, 429, {"Retry-After": str(error.seconds)})
    return _form_answer(form, _STATUS[form.kind])


def add_error_answers(app: FastAPI) -> None:
    """Have the server answer errors so."""

    @app.exception_handler(PenstockError)
    def _(_: Request, error: PenstockError) -> Response:
        return error_answer(error)

    @app.exception_handler(RequestValidationError)
    def _(_: Request, error: RequestValidationError) -> Response:
        first = error.errors()[0]
        place = ".".join(str(each) for each in first["loc"])
        return _form_answer(ErrorForm("usage", f"{place} is not valid", str(first["msg"])), 422)
