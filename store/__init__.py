"""Objects by key: the interface, a local directory, S3. The only place that imports boto3."""
