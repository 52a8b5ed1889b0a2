"""A small attention network, and a teacher and student made of it."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Attention(nn.Module):
    """Softmax attention with a projection that is zero at the start, as in SLA."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.qkv = nn.Linear(width, 3 * width)
        self.proj_l = nn.Linear(width, width)
        self.proj = nn.Linear(width, width)
        nn.init.zeros_(self.proj_l.weight)
        nn.init.zeros_(self.proj_l.bias)
        self.sharpness = 1.0

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(x).chunk(3, dim=-1)
        mixed = F.softmax(self.sharpness * q @ k.transpose(-1, -2), dim=-1) @ v
        return self.proj(mixed + self.proj_l(v))


class Block(nn.Module):
    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        self.attn, self.drop = Attention(width), nn.Dropout(dropout)
        self.mlp = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.drop(self.attn(x))
        return x + F.gelu(self.mlp(x))


class Net(nn.Module):
    """Tokens `b n c` in, a depth for each token `b n` and the tokens out."""

    def __init__(self, width: int = 8, depth: int = 3, dropout: float = 0.0) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(Block(width, dropout) for _ in range(depth))
        self.head = nn.Linear(width, 1)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        for block in self.blocks:
            x = block(x)
        return {"depth": self.head(x).squeeze(-1).exp(), "tokens": x}


def make_models(dropout: float = 0.0) -> tuple[nn.Module, nn.Module]:
    torch.manual_seed(7)
    teacher, student = Net(), Net(dropout=dropout)
    student.load_state_dict(teacher.state_dict())
    for block in student.blocks:
        block.attn.sharpness = 0.1  # a cheaper attention that has to be corrected
    return teacher, student
