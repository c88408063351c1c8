"""Whether the entries of a version are as they should be: JSON Schema of metadata, folders, types, counts, pairs. Pure.

``problem`` what is found wrong; ``metadata_schema`` JSON Schema; ``content_types`` what bytes are; ``patterns`` over
paths; ``rules`` all of it read from one document, and run over a stream of entries in tree order.
"""
