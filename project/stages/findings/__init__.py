"""What stages find: inputs, parameters, and why one is stale."""
