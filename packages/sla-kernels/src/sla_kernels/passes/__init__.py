"""Passes over memory on a CPU that no tensor operation fuses, compiled where Numba is installed.

Each does in one reading what PyTorch does in several, and gives the same numbers but for rounding.
"""
