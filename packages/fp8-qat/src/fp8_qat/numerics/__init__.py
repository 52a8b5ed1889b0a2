"""Numbers: the formats, how a largest magnitude becomes a scale, and rounding, real and fake."""
