"""What is asked about the entries of a version: expressions over them, schema of metadata, samples, splits. Pure.

``query_record`` what an entry looks like to a question; ``expression`` the language; ``conditions`` the same by keyword
arguments; ``summary`` fields, types and shares; ``selection`` samples and splits. All of it works on a stream of
records and holds no list of them.
"""
