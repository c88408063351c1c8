"""The tables of an overlay: schema, journal, LMDB, and what they say of the overlay as a whole."""
