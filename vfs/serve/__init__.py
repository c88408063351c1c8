"""The processes of a mount: supervisor, serving process, control socket, jobs."""
