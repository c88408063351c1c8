"""What is whole in an overlay that was damaged, and taking that out of it."""
