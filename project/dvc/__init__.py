"""Projects of DVC, taken over: read as they lie there, and nothing of them touched."""
