"""Cameras, pixels, alignment, meters and splats."""
