"""Commands about buckets and the block cache: remotes, garbage, damage, and what is fetched ahead."""
