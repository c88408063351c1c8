"""Copies of versions in directories on this machine: made, compared, brought up to date."""
