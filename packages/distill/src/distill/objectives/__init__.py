"""What the student is asked to match; objectives add up, and each is logged."""
