"""Cameras exact to the pixel: matches of the photos themselves, tracks, bundle adjustment."""
