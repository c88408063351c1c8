"""A bucket: where its objects lie, its records, refs and leases, and what it lets this machine do."""
