"""Cameras in and out of Depth Anything 3: the encoder of given ones, the decoder of found ones."""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from recon_backbones.blocks.precision import at_least_float32
from recon_backbones.blocks.transformer import Block, Mlp
from recon_backbones.da3.config import DA3Config


class CameraEncoder(nn.Module):
    """Turn pose encodings of given cameras into camera tokens, all views seeing each other."""

    def __init__(self, config: DA3Config) -> None:
        super().__init__()
        c = config.embed_dim
        self.pose_branch = Mlp(9, c // 2, c)
        self.token_norm = nn.LayerNorm(c)
        self.trunk = nn.ModuleList(
            Block(
                c,
                config.cam_enc_heads,
                feed_forward=Mlp(c, c * config.mlp_ratio),
                norm_eps=1e-5,
                layer_scale=config.layer_scale,
            )
            for _ in range(config.cam_enc_depth)
        )
        self.trunk_norm = nn.LayerNorm(c)

    def forward(self, encoding: Float[Tensor, "b v 9"]) -> Float[Tensor, "b v c"]:
        """Encode camera-to-world pose encodings."""
        x = self.token_norm(self.pose_branch(encoding.to(self.token_norm.weight.dtype)))
        for block in self.trunk:
            x = block(x)
        return self.trunk_norm(x)


class CameraDecoder(nn.Module):
    """Read a camera-to-world pose encoding off each view's camera token, in float32."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.backbone = nn.Sequential(
            nn.Linear(width, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU()
        )
        self.fc_t = nn.Linear(width, 3)
        self.fc_qvec = nn.Linear(width, 4)
        self.fc_fov = nn.Sequential(nn.Linear(width, 2), nn.ReLU())

    def forward(self, token: Float[Tensor, "b v c"]) -> Float[Tensor, "b v 9"]:
        """Return translation, quaternion (x, y, z, w, any length), fields of view (y, x)."""
        x = at_least_float32(token)
        for layer in (self.backbone[0], self.backbone[2]):
            x = F.relu(_linear(layer, x))
        fov = F.relu(_linear(self.fc_fov[0], x))
        return torch.cat((_linear(self.fc_t, x), _linear(self.fc_qvec, x), fov), dim=-1)

    def init(self) -> None:
        """Start training from no turn and a field of view of one radian, both with gradient."""
        with torch.no_grad():
            bias = self.fc_qvec.bias
            bias.copy_(bias.new_tensor([0.0, 0.0, 0.0, 1.0]))
            nn.init.ones_(self.fc_fov[0].get_parameter("bias"))


def _linear(layer: nn.Module, x: Tensor) -> Tensor:
    """Apply a linear layer in the dtype of x; one that multiplies in its own way, in its own."""
    if not isinstance(layer, nn.Linear) or layer.bias.dtype == x.dtype:
        return layer(x)
    if type(layer).forward is nn.Linear.forward:
        return F.linear(x, layer.weight.to(x.dtype), layer.bias.to(x.dtype))
    return layer(x.to(layer.bias.dtype)).to(x.dtype)
