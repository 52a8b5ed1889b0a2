"""Backbones in other forms: the formats of other runtimes, and CUDA graphs."""

from recon_backbones.export.onnx import Written as Written
from recon_backbones.export.onnx import check_packages as check_packages
from recon_backbones.export.onnx import write_onnx as write_onnx
from recon_backbones.program import Shape as Shape
