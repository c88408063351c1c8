"""Datasets as code: a class in a Python file says what a dataset holds, and commits of git are its versions.

`declaration` is what such a file says, read from its text by `declared_source`: nothing of it is executed here.
`records` has the versions that are made of it, `commits` what git has to do with them.
"""
