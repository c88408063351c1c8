"""What was trained on which versions: stamps of processes, and records of runs in the buckets of their datasets."""
