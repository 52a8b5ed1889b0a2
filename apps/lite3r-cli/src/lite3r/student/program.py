"""A student as a program: its operators are those of sla_kernels and fp8_qat."""

from importlib import import_module
from pathlib import Path

from recon_backbones import Program
from recon_backbones import load_program as load

OPERATORS = ("sla_kernels", "fp8_qat")


def load_program(path: str | Path) -> Program:
    """Read a program that `lite3r export --kind program` wrote.

    Load programs that you trust: a .pt2 file holds code for PyTorch to run.
    Raises ValueError when the file is missing or no such program.
    """
    for name in OPERATORS:  # importing them registers what the program calls
        import_module(name)
    return load(path)
