"""What a training job reads of a version: files by number, in an order that a seed and an epoch make. Without PyTorch.

``epoch_order`` which file comes when, on which rank, in which worker: pure; ``file_numbers`` which files there are;
``version_files`` files by number, decoded to a ``sample``; ``cache_lead`` fetches ahead of a reader; ``datasets`` is
what `penstock.torch` is made of.
"""
