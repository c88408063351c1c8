"""Commands about the versions of a dataset: branches, tags, what differs, merging and going back."""
