"""What trains: chosen by name or preset, or added as low-rank updates."""
