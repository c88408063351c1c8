"""Tables in files, CSV, JSON lines and Parquet, compared row by row in memory that does not grow with them."""
