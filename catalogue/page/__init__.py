"""Pages for people: templates, and files that a browser asks for."""
