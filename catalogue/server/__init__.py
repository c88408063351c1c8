"""The HTTP interface: who calls, what is answered, what is logged and counted."""
