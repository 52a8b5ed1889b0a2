"""Cameras, pixels, alignment, metres and splats."""
