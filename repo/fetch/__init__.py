"""Bytes on their way from a bucket: what one request brings, in which processes, and when it is sent again."""
