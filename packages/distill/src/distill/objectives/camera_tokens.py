"""An objective on the few tokens from which cameras are read."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from einops import rearrange
from jaxtyping import Float
from torch import Tensor

from distill.objectives.objective import PairObjective
from distill.observe.observation import Observation
from distill.record.checks import check_tensor
from distill.record.comparison import pair_losses, weighted_mean
from distill.record.recorder import Records
from distill.record.settings import check_number


def count_views(batch: Any) -> int:
    """Return the number of images in a batch of images `b v 3 y x`.

    Raises ValueError if the batch is not such a tensor.
    """
    if not isinstance(batch, Tensor) or batch.ndim != 5:
        raise ValueError(
            f"batch={type(batch).__name__}; images `b v 3 y x` are needed to tell views apart: "
            "give CameraTokens a count_images of your own"
        )
    return batch.shape[0] * batch.shape[1]


@dataclass(frozen=True, kw_only=True)
class CameraTokens(PairObjective):
    """Match the first tokens of every view, which hold its camera, and no others.

    Among hundreds of patch tokens an error of a camera token is lost in the mean; here it
    stands alone. Pair modules that put out the tokens of all views, view after view: `b (v n) c`
    or `(b v) n c`, for example whole transformer blocks.

    - `pairs`: which modules; empty stands for the pairs given to `distill`.
    - `tokens`: how many tokens at the start of each view to compare.
    - `count_images`: number of images (b times v) in a batch; by default that of `b v 3 y x`.
    - `loss`: "mse", "relative_mse", "cosine" or "distance".
    - `weight`, `name`: factor in the total loss, and name in logs.

    Raises ValueError if `tokens` is below 1.
    """

    tokens: int = 1
    count_images: Callable[[Any], int] = count_views
    name: str = "camera_tokens"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_number("tokens", self.tokens, whole=True)
        if self.tokens < 1:
            raise ValueError(
                f"tokens={self.tokens}; at least one token of each view is compared: to compare "
                "none, leave the objective out"
            )

    def __call__(self, seen: Observation) -> Float[Tensor, ""]:
        """Return the weighted mean over the pairs, of the first tokens of every view.

        Raises ValueError if a module puts out no whole number of tokens for each view.
        """
        images = self.count_images(seen.batch)
        student, teacher = (self._first(r, images) for r in (seen.student, seen.teacher))
        return weighted_mean(pair_losses(self.pairs, self.loss, student, teacher))

    def _first(self, records: Records, images: int) -> Records:
        taps = [tap for pair in self.pairs for tap in (pair.student_tap, pair.teacher_tap)]
        return {
            tap: [first_tokens(tensor, images, self.tokens) for tensor in records[tap]]
            for tap in taps
            if tap in records
        }


def first_tokens(
    tokens: Float[Tensor, "*rows c"], images: int, count: int
) -> Float[Tensor, "images count c"]:
    """Return the first `count` tokens of each of `images` views that follow one another.

    Raises ValueError if the views cannot have equally many tokens, `count` at least.
    """
    check_tensor("tokens", tokens)
    rows = tokens.shape[:-1].numel()
    if images < 1 or rows % images or rows // images < count:
        raise ValueError(
            f"tokens={tuple(tokens.shape)}; {images} views need equally many tokens each, "
            f"{count} at least: pair modules that put out the tokens of all views"
        )
    flat = rearrange(tokens, "... c -> (...) c")
    return rearrange(flat, "(images n) c -> images n c", images=images)[:, :count]
