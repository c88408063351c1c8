"""Packages that quilt3 wrote: registries, their history, manifests, read; and imported as versions. Nothing is trusted.

``physical_key`` where bytes lie; ``content_hash`` the three kinds of hash; ``manifest`` JSON lines to entries, with
the top hash computed anew; ``quilt_registry`` names, revisions and pointers in a store. ``quilt_import`` makes a
branch of a history, ``quilt_revision`` a version of a revision. The layout and the hash are those
of quilt3 (github.com/quiltdata/quilt, `packages.py`), version 8.
"""
