"""What is fetched before it is asked for: decisions, and the tasks that carry them out."""
