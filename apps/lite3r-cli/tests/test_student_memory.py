"""A student's memory is predicted from the student itself: its own attention and layers."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import fp8_qat
from lite3r.student.axes import find_axes
from lite3r.student.compose import lighten, quantize, sparsify
from lite3r.student.deploy import export
from lite3r.student.recipes import Recipe, balanced, fast, tiles
from recon_backbones import load_backbone
from recon_backbones.views.memory import Work, footprint
from recon_eval.efficiency import peak_memory

PROGRAM = Path(__file__).parent / "programs" / "loads_exported.py"
FINE = {"keep": 4, "opened": 4, "block": (16, 4), "summary": (4, 16)}


@pytest.mark.parametrize(
    "recipe",
    [replace(fast(), fp8="none"), replace(tiles(), fp8="none"), replace(balanced(), **FINE)],
)
def test_prediction_is_what_the_allocator_gives_a_student(recipe: Recipe) -> None:
    student = load_backbone("da3-tiny", weights="random").requires_grad_(False)
    sparsify(student, recipe)
    find_axes(student, torch.rand(1, 2, 3, 56, 56))
    if recipe.fp8 != "none":
        quantize(student, recipe)
        fp8_qat.convert(student, backend="weight_only")
    images = torch.rand(1, 4, 3, 84, 112)

    def call() -> object:
        with torch.inference_mode():
            return student(images, head_chunk=2)

    found = footprint(student, Work(views=4, height=84, width=112, head_chunk=2))
    measured = peak_memory(call).working_bytes
    assert 0.9 * found.activations <= measured <= 1.1 * found.activations
    dense = footprint("da3-tiny", Work(views=4, height=84, width=112))
    assert (found.weights < 0.6 * dense.weights) == (recipe.fp8 != "none")


@pytest.mark.skipif(sys.platform != "linux", reason="where a system tells peak memory")
def test_an_exported_student_is_loaded_without_memory_for_what_its_teacher_took(
    tmp_path: Path,
) -> None:
    """Its own values, not those of the dense float32 network, are all that is held on the way."""
    teacher = load_backbone("da3-small", weights="random").eval()
    dense = sum(4 * p.numel() for p in teacher.parameters())
    export(lighten(teacher, calibrate=torch.rand(1, 2, 3, 28, 28)), tmp_path)
    command = [sys.executable, str(PROGRAM), str(tmp_path)]
    told = subprocess.run(command, capture_output=True, text=True, check=True)
    assert int(told.stdout) < 0.8 * dense
