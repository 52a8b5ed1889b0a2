"""A transformer of your own, its attention made sparse, then taught by its dense self.

python examples/own_transformer_sparse.py [TOKENS] [STEPS]
"""

import copy
import sys

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional as F

from distill import DistillConfig, Pair, distill, freeze_except
from sla_kernels import SparseLinearAttention, explain

WIDTH, HEADS = 64, 2


class Attention(nn.Module):
    """Any attention of yours: all that is asked of it is that what mixes tokens is a module."""

    def __init__(self) -> None:
        super().__init__()
        self.qkv, self.proj = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)
        self.core: nn.Module = Dense()

    def forward(self, x: Tensor) -> Tensor:
        """Mix tokens, `b n c` to `b n c`."""
        q, k, v = rearrange(self.qkv(x), "b n (three h d) -> three b h n d", three=3, h=HEADS)
        return x + self.proj(rearrange(self.core(q, k, v), "b h n d -> b n (h d)"))


class Dense(nn.Module):
    """What everybody has."""

    def forward(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Attend everywhere, `b h n d`."""
        return F.scaled_dot_product_attention(q, k, v)


def main(tokens: str = "1024", steps: str = "60") -> None:
    """Exchange the cores, train what is new, say how far the student is from its teacher."""
    torch.manual_seed(0)
    teacher = nn.Sequential(Attention(), Attention()).eval()
    student = copy.deepcopy(teacher)
    for block in student:
        block.core = SparseLinearAttention(WIDTH // HEADS, keep=0.25)
    print(freeze_except(student, "*.core.proj_l.*"))
    q, k = torch.randn(2, 1, HEADS, int(tokens), WIDTH // HEADS)
    print(explain(q, k, keep=0.25))

    batches = [torch.randn(1, int(tokens), WIDTH) for _ in range(4)]
    before = distance(teacher, student, batches)
    distill(
        student,
        teacher,
        batches,
        pairs=[Pair(teacher=f"{i}.core", student=f"{i}.core") for i in range(2)],
        config=DistillConfig(steps=int(steps), learning_rate=1e-2),
    )
    print(f"relative error: {before:.4f} before, {distance(teacher, student, batches):.4f} after")


@torch.no_grad()
def distance(teacher: nn.Module, student: nn.Module, batches: list[Tensor]) -> float:
    """Root of the mean squared difference, over that of the teacher's answers."""
    pairs = [(teacher(x), student(x)) for x in batches]
    apart = sum(float((a - b).square().mean()) for a, b in pairs)
    return (apart / sum(float(a.square().mean()) for a, _ in pairs)) ** 0.5


if __name__ == "__main__":
    main(*sys.argv[1:])
