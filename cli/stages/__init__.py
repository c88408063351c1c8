"""Commands on stages: what is run, why, and what came of it."""
