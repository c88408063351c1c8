"""The command line: click commands, output, progress, exit codes. The only place that imports click and rich."""
