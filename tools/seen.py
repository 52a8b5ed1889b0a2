"""Draw what one block of queries sees: its patches, what it reads exactly, and the summaries.

python tools/seen.py docs/what-a-query-sees.jpg

The bundled teacher looks at six views of an unseen synthetic scene; shown is one head of its third
global layer. Outlined in white: the patches of the query block, which the order put together from
all views. Red: patches that these queries read one by one. The rest is dimmed by the size of the
cell that answers for it: the darker, the coarser.
"""

import sys

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import Tensor

from recon_backbones import load_backbone, replace_attention
from recon_eval.data import SyntheticScenes
from sla_kernels import SparseLinearAttention, SummarySelection, observed_selections

VIEWS, SIZE, PATCH, SHOWN = 6, 224, 14, 3  # SHOWN: pixels of the picture for two of the view
LAYER, HEAD, BLOCK = 2, 1, 9
SHADES = (0.75, 0.45, 0.25)  # of the smallest cells, the next, the next


def main(out: str) -> None:
    """Run the network with few exact blocks, and draw one of the lists."""
    scene = SyntheticScenes("test", count=1, views=VIEWS, height=SIZE, width=SIZE)[0]
    backbone = load_backbone("da3-tiny", weights="bundled")
    replace_attention(backbone, lambda site: attention(site.head_dim))
    with torch.inference_mode(), observed_selections(backbone) as found:
        backbone(scene.images[None])
    picture = drawn(scene.images, *answers(found[LAYER]))
    picture.save(out, quality=85, optimize=True)


def attention(head_dim: int) -> SparseLinearAttention:
    """The recipe "fast", with blocks as small as the picture can show."""
    return SparseLinearAttention(
        head_dim,
        keep=32,
        block=(64, 4),
        order="content",
        summary=(4, 64),
        opened=8,
        axes=16,
        linear=None,
    )


def answers(selection: SummarySelection) -> tuple[set[int], set[int], dict[int, int]]:
    """Positions of queries and of what they read exactly, and the level that answers for others."""
    layout, order = selection.layout, selection.order[0].tolist()
    places = range(BLOCK * selection.block_q, (BLOCK + 1) * selection.block_q)
    exact, level_of = set(), {}
    for row in selection.rows[0, HEAD, BLOCK].tolist():
        if row < layout.tokens:
            exact.add(order[row])
        for level, size in enumerate(layout.sizes):
            cell = row - layout.first(level)
            if 0 <= cell < layout.cells(level):
                held = order[cell * size : (cell + 1) * size]
                level_of |= dict.fromkeys(held, level)
    return {order[place] for place in places}, exact, level_of


def drawn(
    images: Tensor, queries: set[int], exact: set[int], level_of: dict[int, int]
) -> Image.Image:
    """The views side by side, every patch in the color of what it is."""
    across = SIZE // PATCH
    side = SIZE * SHOWN // 2
    sheet = Image.new("RGB", (VIEWS // 2 * side, 2 * side))
    for view, image in enumerate(images):
        pixels = image.permute(1, 2, 0).numpy().copy()
        for patch in range(across**2):
            position = view * (1 + across**2) + 1 + patch
            y, x = (PATCH * i for i in divmod(patch, across))
            part = pixels[y : y + PATCH, x : x + PATCH]
            if position in exact:
                part[:] = 0.5 * part + 0.5 * np.array([1.0, 0.1, 0.1])
            else:
                part *= SHADES[level_of[position]]
        left, top = view % (VIEWS // 2) * side, view // (VIEWS // 2) * side
        sheet.paste(
            Image.fromarray((255 * pixels).astype(np.uint8)).resize((side, side)), (left, top)
        )
        _outline(sheet, view, queries, left, top)
    return sheet


def _outline(sheet: Image.Image, view: int, queries: set[int], left: int, top: int) -> None:
    across, step = SIZE // PATCH, PATCH * SHOWN / 2
    pen = ImageDraw.Draw(sheet)
    for patch in range(across**2):
        if view * (1 + across**2) + 1 + patch in queries:
            y, x = divmod(patch, across)
            corner = left + x * step, top + y * step
            pen.rectangle(
                (*corner, corner[0] + step - 2, corner[1] + step - 2), outline="white", width=2
            )


if __name__ == "__main__":
    main(*sys.argv[1:])
