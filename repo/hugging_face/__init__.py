"""Directories as Hugging Face has them: clones and snapshots of dataset repositories, and what `save_to_disk` wrote."""
