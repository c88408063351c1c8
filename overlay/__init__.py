"""The writable upper layer of a mount: what differs from a version, kept on local disk until it is committed."""
