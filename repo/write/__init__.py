"""Make a version: data packs, node packs, uploads, and the records that publish it."""
