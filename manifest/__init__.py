"""The manifest: a Merkle tree of directories, as pure code. Bytes in, values out: no I/O, no clock.

``entry`` values; ``hashing`` what is hashed and how; ``codec`` nodes to frames and back, strictly; ``split`` where
a directory is cut; ``build`` a tree from a sorted stream; ``tree`` look-ups, listing, inode numbers; ``diff``
and ``update`` in time proportional to the change; ``records`` the JSON objects around the tree. docs/FORMAT.md
is normative for all of it.
"""
