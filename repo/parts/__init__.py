"""Parts of a version that several processes make: written apart, merged in tree order, published once.

Key types: `PartEntry`, `PartRecord` and `PartSet` (`part_record`), `PartWriter` (`part_writer`), `merged_entries`
(`part_reader`). docs/design/018-parts.md says why.
"""
