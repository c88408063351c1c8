"""Files of object storage for functions that know only directories: fetched for them, and what they made sent back.

Key types: `FileDataset` (`file_dataset`), `BatchResult`'s rows by `map_batch`; `function_hash` and `function_call` say
what a user's function is and what it is given.
"""
