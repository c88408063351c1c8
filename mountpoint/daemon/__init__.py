"""The process of a mount that outlives the one that serves it: supervisor, its link to the serving process, logs."""
