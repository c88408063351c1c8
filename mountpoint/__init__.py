"""Mounts as other processes see them: mounting, unmounting, which there are, and questions to their daemons.

Needs neither pyfuse3 nor trio: `penstock.vfs` is started as a process.
"""
