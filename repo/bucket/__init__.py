"""What a bucket holds besides versions: keys, records, leases; what it promises, and what a deletion rests on."""
