"""Other repositories, whose projects data is imported from."""
