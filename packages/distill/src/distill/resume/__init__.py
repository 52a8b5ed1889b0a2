"""What a run remembers, and how it reaches the disk."""
