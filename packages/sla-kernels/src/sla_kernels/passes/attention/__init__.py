"""Attention of listed rows, compiled for the vectors of the processor at hand."""
