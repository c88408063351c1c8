"""A version in the making: `PackageBuilder`, its state from one command to the next, and what it holds, read."""
