"""What must be equal to what, by kernel."""
