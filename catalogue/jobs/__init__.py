"""Long work of a catalogue: done by bounded workers, step by step, so that a worker that dies loses no job."""
