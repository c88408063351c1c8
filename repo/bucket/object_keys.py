"""Where things lie in a bucket. The only place that knows the keys; docs/FORMAT.md describes them.

    .penstock/data/<2 hex>/<64 hex>                   data object: a pack of small files, or a piece of a large one
    .penstock/nodes/<2 hex>/<64 hex>                  node pack
    .penstock/datasets/<name>/info/<number>           title and description
    .penstock/datasets/<name>/manifests/<top hash>    root of a version's tree
    .penstock/datasets/<name>/commits/<commit id>     a version in its history
    .penstock/datasets/<name>/heads/<branch>/<number> moves of a branch
    .penstock/datasets/<name>/tags/<tag>              a tag
    .penstock/datasets/<name>/protection/<number>     rules of protected branches
    .penstock/datasets/<name>/retention/<number>      how long versions are kept
    .penstock/datasets/<name>/gone/<top hash>         that a version was let go by that, and its commit stays
    .penstock/datasets/<name>/approvals/<commit>/<32 hex>   that somebody approves of a version
    .penstock/datasets/<name>/runs/<top>/<id>/<hash>  what was trained on a version: its top hash, its commit (or 0s)
    .penstock/leases/<kind>/<32 hex>                  who relies on what the bucket holds (leases)
    .penstock/garbage/<64 hex>                        what `gc` found, for a later run (notes)
    .penstock/parts/<2 hex>/<64 hex>                  part of a version in the making, by its set (parts)
    .penstock/copies/<2 hex>/<64 hex>                 a data object of another bucket, copied by the server (staging)
    .penstock/runs/<2 hex>/<64 hex>                   what a run of a stage made, by all that it was run with
    .penstock/runs/each/<64 hex>/<64 hex>             what a command made of single files, by what it was run with
    .penstock/probe/<32 hex>[/...]                    what is made and deleted to try the bucket (promises, proof)

Data and nodes are the bucket's, so that datasets share them. A <number> counts down from 16 hex f's: the newest
record sorts first, and a LIST of one key finds it.
"""

from __future__ import annotations

__all__ = [
    "COPIES",
    "DATA",
    "DATASETS",
    "GARBAGE",
    "LEASES",
    "NODES",
    "PARTS",
    "PROBES",
    "ROOT",
    "RUNS",
    "approval_prefix",
    "commit_key",
    "data_key",
    "dataset_prefix",
    "digest_of",
    "gone_key",
    "head_prefix",
    "item_prefix",
    "lease_key",
    "manifest_key",
    "node_key",
    "note_key",
    "number_key",
    "number_of",
    "part_key",
    "part_prefix",
    "policy_prefix",
    "protection_prefix",
    "run_key",
    "tag_key",
    "training_key",
    "training_parts",
    "training_prefix",
]

ROOT = ".penstock/"
DATA = ROOT + "data/"
NODES = ROOT + "nodes/"
DATASETS = ROOT + "datasets/"
LEASES = ROOT + "leases/"
GARBAGE = ROOT + "garbage/"
PROBES = ROOT + "probe/"
PARTS = ROOT + "parts/"
RUNS = ROOT + "runs/"
COPIES = ROOT + "copies/"
"""Not under the hash of what they hold, for nobody here has seen their bytes: under that of the address copied from."""
_LAST = (1 << 64) - 1
_NO_COMMIT = bytes(32)


def data_key(digest: bytes) -> str:
    """Return the key of a data object by its hash."""
    return _by_hash(DATA, digest)


def node_key(digest: bytes) -> str:
    """Return the key of a node pack by its hash."""
    return _by_hash(NODES, digest)


def part_key(digest: bytes) -> str:
    """Return the key of what belongs to a set of parts: 16 bytes of the set, 16 of what it is."""
    return _by_hash(PARTS, digest)


def part_prefix(part_set: bytes) -> str:
    """Return what the keys of a set of parts, named by 16 bytes, start with."""
    name = part_set.hex()
    return f"{PARTS}{name[:2]}/{name}"


def _by_hash(prefix: str, digest: bytes) -> str:
    name = digest.hex()
    return f"{prefix}{name[:2]}/{name}"


def digest_of(prefix: str, key: str) -> bytes | None:
    """Return the hash that names an object below DATA or NODES; None when the key is no such key."""
    try:
        digest = bytes.fromhex(key[len(prefix) + 3 :])
    except ValueError:
        return None
    return digest if len(digest) == 32 and key == _by_hash(prefix, digest) else None


def lease_key(kind: str, name: str) -> str:
    """Return the key of a lease; of an empty name, what the keys of all leases of the kind start with."""
    return f"{LEASES}{kind}/{name}"


def run_key(digest: bytes) -> str:
    """Return the key of the record of a run by the hash of what it was run with."""
    return _by_hash(RUNS, digest)


def item_prefix(digest: bytes) -> str:
    """Return what the keys of records of single files start with, by the hash of what their command was run with."""
    return f"{RUNS}each/{digest.hex()}/"


def note_key(digest: bytes) -> str:
    """Return the key of a note of `gc` by the hash of its bytes."""
    return GARBAGE + digest.hex()


def dataset_prefix(dataset: str) -> str:
    """Return what the keys of a dataset's own records start with."""
    return f"{DATASETS}{dataset}/"


def head_prefix(dataset: str, branch: str) -> str:
    """Return what the keys of a branch's records start with."""
    return f"{dataset_prefix(dataset)}heads/{branch}/"


def manifest_key(dataset: str, top_hash: str) -> str:
    """Return the key of a manifest; of a prefix of the hash, a prefix of the key."""
    return f"{dataset_prefix(dataset)}manifests/{top_hash}"


def commit_key(dataset: str, commit: str) -> str:
    """Return the key of a commit; of a prefix of the id, a prefix of the key."""
    return f"{dataset_prefix(dataset)}commits/{commit}"


def tag_key(dataset: str, tag: str) -> str:
    """Return the key of a tag."""
    return f"{dataset_prefix(dataset)}tags/{tag}"


def protection_prefix(dataset: str) -> str:
    """Return what the keys of the records of a dataset's rules start with."""
    return f"{dataset_prefix(dataset)}protection/"


def approval_prefix(dataset: str, commit: str) -> str:
    """Return what the keys of the approvals of a commit start with."""
    return f"{dataset_prefix(dataset)}approvals/{commit}/"


def policy_prefix(dataset: str) -> str:
    """Return what the keys of the records of a dataset's policy start with."""
    return f"{dataset_prefix(dataset)}retention/"


def gone_key(dataset: str, top_hash: str) -> str:
    """Return the key of the record that a version was let go."""
    return f"{dataset_prefix(dataset)}gone/{top_hash}"


def training_prefix(dataset: str, top_hash: bytes | None = None) -> str:
    """Return what the keys of records of what was trained start with: on one version, or on any."""
    return f"{dataset_prefix(dataset)}runs/{f'{top_hash.hex()}/' if top_hash is not None else ''}"


def training_key(dataset: str, top_hash: bytes, commit: bytes | None, digest: bytes) -> str:
    """Return the key of a record of what was trained on a version, by the hash of the record's bytes."""
    return f"{training_prefix(dataset, top_hash)}{(commit or _NO_COMMIT).hex()}/{digest.hex()}"


def training_parts(dataset: str, key: str) -> tuple[bytes, bytes | None, bytes] | None:
    """Return the top hash, the commit and the record's own hash from such a key; None when it is none."""
    try:
        top_hash, commit, digest = map(bytes.fromhex, key[len(training_prefix(dataset)) :].split("/"))
    except ValueError:
        return None
    known = commit if commit != _NO_COMMIT else None
    return (
        (top_hash, known, digest)
        if key == training_key(dataset, top_hash, known, digest) and len(top_hash + commit + digest) == 96
        else None
    )


def number_key(prefix: str, number: int) -> str:
    """Return the key of the record with this number (0 is the first) in a sequence."""
    return f"{prefix}{_LAST - number:016x}"


def number_of(prefix: str, key: str) -> int | None:
    """Return the number of a record in a sequence from its key; None when the key is no such key."""
    name = key[len(prefix) :]
    try:
        number = _LAST - int(name, 16)
    except ValueError:
        return None
    return number if key == number_key(prefix, number) else None
