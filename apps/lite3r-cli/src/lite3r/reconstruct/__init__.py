"""From photos to depth and cameras: what goes in, how it is cut to fit, and in which unit."""
