"""Objects in S3 and what speaks like it: requests, answers, listings, versions."""
