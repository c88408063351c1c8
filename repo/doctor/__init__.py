"""What `penstock doctor` looks at in a bucket, and what each check found."""
