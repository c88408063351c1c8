"""Stages run: commands, what they made, and what earlier runs made."""
