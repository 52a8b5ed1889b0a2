"""One setting of a benchmark: check every variant, then time all of them in turn.

Every variant is first held against its own float32 twin: one whose depth strays further
than its tolerance is not timed. Variants are timed in turn, so that what disturbs the
machine disturbs all.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from lite3r.bench.costs import PARTS, compare_costs, time_parts
from lite3r.bench.quality import compared
from lite3r.bench.variants import variants
from lite3r.student.kinds import Backend
from lite3r.student.recipes import Recipe
from recon_backbones import Backbone, load_backbone
from recon_eval.efficiency import check_variants, cost_row, cost_table, weight_bytes


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What is reconstructed: a backbone, its weights, and the shape of a scene."""

    backbone: str
    weights: str
    views: int
    height: int
    width: int
    seed: int = 0

    def __str__(self) -> str:
        size = f"{self.width} x {self.height}"
        return f"{self.backbone} ({self.weights} weights), {self.views} views, {size}"

    def images(self) -> Tensor:
        """Noise in [0, 1], `1 v 3 y x`: time does not depend on what is seen."""
        generator = torch.Generator().manual_seed(self.seed)
        return torch.rand(1, self.views, 3, self.height, self.width, generator=generator)

    def load(self, device: str) -> Backbone:
        """The dense backbone. Raises ValueError as `load_backbone` does."""
        return load_backbone(self.backbone, weights=self.weights, device=device, seed=self.seed)

    def check(self, backbone: Backbone) -> None:
        """Raise ValueError for sizes that the backbone does not take."""
        patch = backbone.patch_size
        if self.height % patch or self.width % patch or 0 in (self.height, self.width):
            raise ValueError(
                f"sizes={self.width}x{self.height}; both must be multiples of {patch}, the patches "
                f"of {self.backbone}: {max(1, self.width // patch) * patch}x"
                f"{max(1, self.height // patch) * patch} are"
            )


def bench(
    setting: Setting,
    base: Backbone,
    recipe: Recipe,
    *,
    backend: Backend = "auto",
    repeats: int,
    seconds: float,
    with_compile: bool,
    say: Callable[[str], None] = lambda text: None,
) -> dict[str, Any]:
    """The setting and a row for each variant; what did not run says why.

    - `base`: the backbone that `setting` names, loaded.
    - `seconds`: what the timed rounds may take together; at least one is made.
    """
    torch.compiler.reset()  # it gives up after some shapes, and what runs then is not compiled
    device = next(base.parameters()).device.type
    images = setting.images().to(device)
    chosen = variants(
        setting.backbone, recipe, device=device, backend=backend, with_compile=with_compile
    )
    rows, ready = check_variants(chosen, base, lambda m: compared(m, images).depth, say=say)
    say("timing in turn ...")
    costs = compare_costs(ready, images, repeats=repeats, device=device, seconds=seconds)
    compiled = {v.name for v in chosen if v.compiled}
    for row in rows:
        if (name := row["variant"]) in costs:
            held = weight_bytes(ready[name])
            row |= cost_row(costs[name], weight_bytes=held, views=setting.views)
            if name not in compiled and hasattr(ready[name], "attention_sites"):
                row["parts_ms"] = time_parts(ready[name], images, device=device, repeats=3)
    return asdict(setting) | {"rows": rows}


def markdown(results: Sequence[Mapping[str, Any]]) -> str:
    """Tables, one a setting; speed-up is over dense bfloat16."""
    return "\n".join(
        f"### {Setting(**{k: v for k, v in result.items() if k != 'rows'})}\n\n"
        f"{cost_table(result, baseline='dense bfloat16', parts=PARTS)}\n"
        for result in results
    )
