"""The process that serves a mount: its start and end, its control socket, and what it does when it is asked."""
