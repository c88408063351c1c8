"""How long versions are kept: a data set's policy, what it keeps, and what `gc` lets go by it."""
