"""Keys: made, listed and revoked by admins."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Body, Query, Request, Response

from penstock.catalogue.orm.dataset import DatasetScope
from penstock.catalogue.state.signed_request import SshKeyTable
from penstock.errors import UsageError

from .answers import json_answer
from .callers import Asking
from .context import ServerContext, context_of

__all__ = ["router"]

router = APIRouter(prefix="/api", tags=["keys"])

_Scopes = Annotated[list[str], Body(max_length=8)]


def _parsed(scopes: list[str]) -> list[DatasetScope]:
    try:
        return [DatasetScope(each) for each in scopes]
    except ValueError as error:
        known = ", ".join(each.value for each in DatasetScope)
        raise UsageError("a scope that there is not", why=str(error), fix=f"One of {known}.") from error


def _known(context: ServerContext, dataset: str) -> str:
    """Return the hash of a dataset that is there; of an empty name, an empty one."""
    if not dataset:
        return ""
    found, name = context.catalogues.find(dataset)
    return found.hash_of(name)


@router.post("/keys")
def create_key(
    request: Request,
    asking: Asking,
    scopes: _Scopes,
    title: Annotated[str, Body(max_length=200)] = "",
    dataset: Annotated[str, Body(max_length=400)] = "",
    lifetime: Annotated[float | None, Body(gt=0)] = None,
    is_admin: Annotated[bool, Body()] = False,
) -> Response:
    """Make a key; its secret is in this answer, and nowhere else."""
    context = context_of(request)
    asking.require_admin(_own(context, asking.dataset, dataset))
    key = context.keys.create(title, _parsed(scopes), _known(context, dataset), lifetime=lifetime, is_admin=is_admin)
    return json_answer(_with_secret(key.secret, key), 201)


def _own(context: ServerContext, own: str, dataset: str) -> str:
    """Return the hash of the dataset that is asked about; an admin of one learns nothing of others."""
    return _known(context, dataset) if not own else (own if dataset == own else "")


def _with_secret(secret: str, key: object) -> dict[str, object]:
    return {"key": key, "secret": secret}


@router.post("/keys/master")
def master_key(request: Request, asking: Asking, dataset: Annotated[str, Body(embed=True, max_length=400)]) -> Response:
    """Make the master key of a dataset anew; the one before opens nothing from now on."""
    context = context_of(request)
    hash_ = _own(context, asking.dataset, dataset)
    asking.require_admin(hash_)
    key = context.keys.master(hash_)
    return json_answer(_with_secret(key.secret, key), 201)


@router.get("/keys")
def list_keys(
    request: Request, asking: Asking, dataset: Annotated[str | None, Query(max_length=400)] = None
) -> Response:
    """Return the keys that are valid, of one dataset, or all; never their secrets."""
    context = context_of(request)
    hash_ = _own(context, asking.dataset, dataset) if dataset is not None else None
    asking.require_admin(hash_ or "")
    return json_answer({"keys": context.keys.list(hash_)})


@router.delete("/keys/{key}")
def revoke_key(request: Request, asking: Asking, key: str) -> Response:
    """Let a key open nothing from now on."""
    context = context_of(request)
    asking.require_admin(asking.dataset)
    if asking.dataset:
        asking.require_admin(context.keys.find(key).dataset_hash)
    context.keys.revoke(key)
    return Response(status_code=204)


@router.post("/ssh-keys")
def register_ssh_key(
    request: Request,
    asking: Asking,
    public: Annotated[str, Body(max_length=10_000)],
    scopes: _Scopes,
    title: Annotated[str, Body(max_length=200)] = "",
    dataset: Annotated[str, Body(max_length=400)] = "",
    is_admin: Annotated[bool, Body()] = False,
) -> Response:
    """Let whoever has the private half of an SSH key sign requests."""
    context = context_of(request)
    asking.require_admin()
    table = SshKeyTable(context.database)
    name = table.register(public, title, _parsed(scopes), _known(context, dataset), is_admin=is_admin)
    return json_answer({"fingerprint": name}, 201)


@router.delete("/ssh-keys/{fingerprint}")
def revoke_ssh_key(request: Request, asking: Asking, fingerprint: str) -> Response:
    """Let an SSH key sign nothing from now on."""
    asking.require_admin()
    SshKeyTable(context_of(request).database).revoke(fingerprint)
    return Response(status_code=204)
