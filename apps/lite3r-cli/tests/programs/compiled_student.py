"""Students compiled block by block; run by test_compiled_student.py without shape checks.

Those checks compare sizes with `int`, and a compiler's symbolic sizes are none.
"""

from dataclasses import replace

import pytest
import torch
from torch.fx import GraphModule

from lite3r.student.axes import find_axes
from lite3r.student.compose import sparsify
from lite3r.student.recipes import balanced
from recon_backbones import load_backbone
from recon_backbones.blocks.transformer import Block

FINE = replace(balanced(), keep=2, block=(16, 4), summary=(4, 16), opened=2, axes=4, fp8="none")


@pytest.mark.usefixtures("short")
@pytest.mark.parametrize("name", ["da3-tiny", "vggt-tiny"])
def test_blocks_compile_whole_and_for_all_numbers_of_views(name: str) -> None:
    """No graph breaks, and a few graphs for all numbers of views."""
    torch._dynamo.reset()
    student = load_backbone(name, weights="random").requires_grad_(False)
    sparsify(student, FINE)
    find_axes(student, torch.rand(1, 2, 3, 28, 56))
    scenes = [torch.rand(1, views, 3, 56, 84) for views in (3, 4, 6)]
    with torch.inference_mode():
        expected = [student(images, reference="first").depth for images in scenes]
    graphs: list[GraphModule] = []

    def count(graph: GraphModule, inputs: list[torch.Tensor]) -> GraphModule:
        graphs.append(graph)
        return graph

    for block in (part for part in student.modules() if isinstance(part, Block)):
        block.compile(fullgraph=True, dynamic=True, backend=count)
    made = []
    with torch.inference_mode():
        for images, depth in zip(scenes, expected, strict=True):
            found = student(images, reference="first").depth
            torch.testing.assert_close(found, depth, rtol=1e-3, atol=1e-4)
            made.append(len(graphs))
    assert made[0] > 0 and made[2] <= 3 * made[0]  # few: where lists begin, levels come in
    named = {str(node.target) for graph in graphs for node in graph.graph.nodes}
    for operator in ("choose_rows", "summary_attention_forward"):
        assert any(operator in target for target in named), named
