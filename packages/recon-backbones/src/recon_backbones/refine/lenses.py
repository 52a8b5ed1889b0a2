"""What is known of lenses beforehand: which are one, and that pixels are square."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch
from jaxtyping import Float64, Int64
from torch import Tensor

from recon_backbones.refine.model import LOCAL, Cameras

Focal = Literal["shared", "each", "fixed"]
SQUARE = 0.003  # likely relative difference of the two focal lengths of a camera
LIKELY = 0.5  # likely relative error of the focal length at the start
CENTERED = 0.01  # likely distance of a principal point from the start's, of the longer side
FIXED = -1


@dataclass(frozen=True, kw_only=True)
class Lenses:
    """How the lenses of the views hang together.

    - `column`: for each of the 10 numbers of each view, which unknown it is; -1 for what is fixed.
    - `start`: logarithms of likely focal lengths, and likely principal points.
    - `share`: one over the number of views that have a view's lens.
    - `near`: pixels by which principal points are likely off.
    """

    column: Int64[Tensor, "v 10"]
    start: Float64[Tensor, "v 3"]
    share: Float64[Tensor, " v"]
    near: Float64[Tensor, " v"]

    @staticmethod
    def of(cameras: Cameras, sizes: Sequence[tuple[int, int]], focal: Focal) -> "Lenses":
        """Tie lenses as asked.

        "shared": photos of one size (width, height) have one lens, its principal point unknown
        too; one focal length also where photos are turned. "each": a focal length each.
        """
        views = len(cameras)
        numbers = torch.arange(max(views, LOCAL), device="cpu")
        turned = torch.tensor([width < height for width, height in sizes], device="cpu").long()
        alike, same = numbers[:views], numbers[:views]
        if focal == "shared":
            alike = _first([(min(size), max(size)) for size in sizes])
            same = _first(sizes)
        column = torch.full((views, LOCAL), FIXED, device="cpu")
        column[:, :6] = numbers[:views, None] * 6 + numbers[:6]
        if focal != "fixed":
            column[:, 6:8] = 6 * views + 2 * alike[:, None] + torch.stack([turned, 1 - turned], 1)
        if focal == "shared":
            column[:, 8:] = 8 * views + 2 * same[:, None] + numbers[:2]
        used, places = torch.unique(column, return_inverse=True)
        logs = cameras.lens[:, :2].log().mean(dim=1, keepdim=True)
        return Lenses(
            column=places - int(used[0] == FIXED),
            start=torch.cat([logs, cameras.lens[:, 2:]], dim=1),
            share=1 / torch.bincount(alike)[alike].double(),
            near=CENTERED * cameras.lens.new_tensor([max(size) for size in sizes]),
        )

    @property
    def free(self) -> bool:
        """Whether focal lengths may change."""
        return bool((self.column[:, 6] >= 0).any())

    def together(self, cameras: Cameras) -> Cameras:
        """Focal lengths that are one are made one (their geometric mean), pixels square."""
        if not self.free:
            return cameras
        lens = cameras.lens.clone()
        _, group = torch.unique(self.column[:, 6:8].amin(dim=1), return_inverse=True)
        logs = lens[:, :2].log().mean(dim=1) * self.share
        mean = lens.new_zeros(len(lens)).index_add_(0, group, logs)[group]
        lens[:, :2] = mean.exp()[:, None]
        return replace(cameras, lens=lens)

    def cost(self, cameras: Cameras) -> float:
        """How unlikely the lenses are."""
        if not self.free:
            return 0.0
        return float((self.share * self._unlikely(cameras).square().sum(dim=1)).sum())

    def prior(self, cameras: Cameras) -> tuple[Float64[Tensor, "v 10 10"], Float64[Tensor, "v 10"]]:
        """The normal equations of that cost."""
        lens = cameras.lens
        matrix = lens.new_zeros(len(cameras), LOCAL, LOCAL)
        side = lens.new_zeros(len(cameras), LOCAL)
        if self.free:
            rows = lens.new_zeros(len(cameras), 4, 4)
            rows[:, 0, 0], rows[:, 0, 1] = 1 / SQUARE, -1 / SQUARE
            rows[:, 1, :2] = 0.5 / LIKELY
            rows[:, 2, 2] = rows[:, 3, 3] = 1 / self.near
            matrix[:, 6:, 6:] = self.share[:, None, None] * (rows.mT @ rows)
            pull = (rows.mT @ self._unlikely(cameras)[..., None])[..., 0]
            side[:, 6:] = self.share[:, None] * pull
        return matrix, side

    def _unlikely(self, cameras: Cameras) -> Float64[Tensor, "v 4"]:
        logs = cameras.lens[:, :2].log()
        aspect = (logs[:, :1] - logs[:, 1:]) / SQUARE
        longer = (logs.mean(dim=1, keepdim=True) - self.start[:, :1]) / LIKELY
        off = (cameras.lens[:, 2:] - self.start[:, 1:]) / self.near[:, None]
        return torch.cat([aspect, longer, off], dim=1)

    def tie(
        self, matrix: Float64[Tensor, "n n"], side: Float64[Tensor, " n"]
    ) -> tuple[Float64[Tensor, "u u"], Float64[Tensor, " u"]]:
        """Equations of all numbers to those of the unknowns."""
        index, count = self._index()
        rows = matrix.new_zeros(count + 1, len(matrix)).index_add_(0, index, matrix)
        both = matrix.new_zeros(count + 1, count + 1).index_add_(1, index, rows)
        right = side.new_zeros(count + 1).index_add_(0, index, side)
        return both[:count, :count], right[:count]

    def untie(self, solved: Float64[Tensor, " u"]) -> Float64[Tensor, " n"]:
        """Unknowns to the numbers of all views; what is fixed does not move."""
        index, _ = self._index()
        return torch.cat([solved, solved.new_zeros(1)])[index]

    def _index(self) -> tuple[Int64[Tensor, " n"], int]:
        count = int(self.column.max()) + 1
        flat = self.column.flatten()
        return torch.where(flat < 0, count, flat), count


def _first(kinds: Sequence[tuple[int, int]]) -> Int64[Tensor, " v"]:
    """For each view, the first that is of its kind."""
    return torch.tensor([kinds.index(kind) for kind in kinds], device="cpu")
