"""The parts of one optimization step."""
