"""Stages: commands with what they read and make, run only where something changed."""
