"""Versions of declared datasets: records, the processes that make them, what is remembered of work."""
