"""Packages that quilt3 wrote, read: registries, their history, manifests. Nothing is trusted, and nothing is fetched.

``physical_key`` where bytes lie; ``content_hash`` the three kinds of hash; ``manifest`` JSON lines to entries, with
the top hash computed anew; ``registry`` names, revisions and pointers in a store. The layout and the hash are those
of quilt3 (github.com/quiltdata/quilt, `packages.py`), version 8.
"""
