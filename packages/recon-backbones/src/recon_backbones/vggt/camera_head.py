"""VGGT's camera head: a pose encoding refined over several passes, in float32."""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from recon_backbones.blocks.precision import at_least_float32
from recon_backbones.blocks.transformer import Block, Mlp
from recon_backbones.vggt.config import VggtConfig


class CameraHead(nn.Module):
    """Refine world-to-camera pose encodings by a transformer over views.

    Each pass modulates the same camera tokens by the encoding so far and adds a correction.
    """

    def __init__(self, config: VggtConfig) -> None:
        super().__init__()
        d = 2 * config.embed_dim
        self.iterations = config.camera_iterations
        self.token_norm = nn.LayerNorm(d)
        self.trunk = nn.Sequential(
            *(
                Block(
                    d,
                    config.camera_heads,
                    feed_forward=Mlp(d, d * config.mlp_ratio),
                    norm_eps=1e-5,
                    layer_scale=config.layer_scale,
                )
                for _ in range(config.camera_depth)
            )
        )
        self.trunk_norm = nn.LayerNorm(d)
        self.empty_pose_tokens = nn.Parameter(torch.zeros(1, 1, 9))
        self.embed_pose = nn.Linear(9, d)
        self.poseLN_modulation = nn.Sequential(nn.SiLU(), nn.Linear(d, 3 * d))
        self.pose_branch = Mlp(d, d // 2, 9)

    def forward(self, tokens: Float[Tensor, "b v d"]) -> list[Float[Tensor, "b v 9"]]:
        """Return the encoding after every pass: t, quaternion (x, y, z, w), fields of view (y, x).

        Fields of view are clipped at 0 in what is returned, not in what is fed back.
        """
        dtype = self.token_norm.weight.dtype
        tokens = self.token_norm(tokens.to(dtype))
        plain = F.layer_norm(tokens, tokens.shape[-1:], eps=1e-6)
        encoding: Tensor | None = None
        found = []
        for _ in range(self.iterations):
            start = self.empty_pose_tokens.expand(*tokens.shape[:2], -1)
            seen = self.embed_pose(start if encoding is None else encoding.to(dtype))
            shift, scale, gate = self.poseLN_modulation(seen).chunk(3, dim=-1)
            x = self.trunk(gate * (plain * (1 + scale) + shift) + tokens)
            delta = at_least_float32(self.pose_branch(self.trunk_norm(x)))
            encoding = delta if encoding is None else encoding + delta
            found.append(torch.cat((encoding[..., :7], F.relu(encoding[..., 7:])), dim=-1))
        return found
