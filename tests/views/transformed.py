"""The files that tests of transforms begin with, and the data objects of a bucket beside those that versions need."""

from __future__ import annotations

import random

import penstock
from penstock.manifest.tree import Tree
from penstock.repo.bucket import object_keys
from penstock.repo.session.bucket_session import open_session

__all__ = ["FILES", "data_objects"]

FILES = {f"{number % 3}/{number:02}.bin": random.Random(number).randbytes(2000 + number) for number in range(30)}


def data_objects(bucket: str, *handles: str) -> tuple[set[str], set[str]]:
    """Return the data objects of a bucket, and those that versions need."""
    needed: set[str] = set()
    with open_session(bucket, penstock.Settings.load(), cached=False) as session:
        there = {info.key for info in session.store.list(object_keys.DATA)}
        for handle in handles:
            snapshot = penstock.open(handle)._snapshot
            for entry in Tree(snapshot.root, session.load).walk():
                objects = [each.object for each in entry[1].extents]
                needed.update(object_keys.data_key(each) for each in objects if isinstance(each, bytes))
    return there, needed
