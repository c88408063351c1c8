"""What a catalogue does with the datasets of a bucket: list, describe, add, delete, re-encode."""
