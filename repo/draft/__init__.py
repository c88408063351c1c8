"""A version in the making, kept on this disk until it is published: its tree, and where its bytes still lie."""
