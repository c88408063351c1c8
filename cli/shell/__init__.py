"""Completion of command lines in shells: quick, from what is remembered, with a process of its own that asks anew."""
