"""Mutated inputs for all that is read from outside: what is fuzzed, how inputs are made, and what must hold."""
