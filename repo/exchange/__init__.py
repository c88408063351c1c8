"""Versions made of what other tools wrote: quilt packages. Entries stay where they lie."""
