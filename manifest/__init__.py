"""The manifest: a Merkle tree of directories, as pure code. Bytes in, values out: no I/O, no clock.

``entry`` values; ``metadata`` JSON in one spelling; ``hashing`` what is hashed and how; ``frame``, ``node``, ``codec``
nodes to bytes and back, by the ``rules``; ``split`` where a directory is cut; ``build`` a tree from a sorted stream;
``descend`` from node to node; ``tree`` look-ups, listing, inode numbers; ``cursor``, ``diff`` and ``update`` in time
proportional to the change; ``extents`` cut and joined; ``records`` the JSON objects around the
tree. docs/FORMAT.md is normative for all of it.
"""
