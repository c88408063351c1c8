"""State of a server that lies in no bucket: keys, sessions, jobs. SQLite, and no other room knows SQL of it."""
