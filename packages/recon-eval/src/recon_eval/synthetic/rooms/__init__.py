"""Furnished rooms of convex solids under one lamp: the world of `SyntheticScenes`."""
