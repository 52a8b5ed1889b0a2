"""The interface that every backbone fulfils, and the checks that guard its entrance."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from recon_backbones.blocks.token_order import TokenOrder
from recon_backbones.checks import check_device, check_tensor, is_readable
from recon_backbones.geometry.cameras import check_cameras
from recon_backbones.geometry.pixels import Preprocess
from recon_backbones.prediction import Prediction

Scope = Literal["frame", "global", "camera"]
Reference = Literal["first", "middle", "saddle_balanced", "saddle_sim_range"]


@dataclass(frozen=True, kw_only=True)
class AttentionSite:
    """One attention of a backbone: where it sits and what it attends over.

    `name` is the module path inside the backbone. `scope` says which tokens form one sequence:
    "frame" those of one view, "global" those of all views (view after view), "camera" one token
    per view. Each view brings `tokens_per_view` tokens, the first `special_tokens` of which are
    camera and register tokens; `tokens_per_view` is that of the backbone's own training size.
    """

    name: str
    scope: Scope
    num_heads: int
    head_dim: int
    special_tokens: int
    tokens_per_view: int


@dataclass(frozen=True, kw_only=True)
class WeightsSource:
    """Where a backbone's weights came from.

    - `revision`: of the Hub's repository, where one was pinned.
    - `seed`: of random weights, else None.
    """

    kind: Literal["hub", "bundled", "random", "file"]
    location: str
    license: str
    revision: str | None = None
    seed: int | None = None


class Backbone(nn.Module, ABC):
    """A feed-forward reconstruction network with images in and one `Prediction` out.

    A subclass sets `name`, `patch_size` and `family`, keeps the names of its public checkpoints in
    its state dict, and lists its attentions. `needs_cameras` says that it finds none by itself, so
    that they must be given; `photo_size` is the side at which the family sees photos. `weights` is
    set by `load_backbone`.
    """

    family: ClassVar[str]
    needs_cameras: ClassVar[bool] = False
    photo_size: ClassVar[int] = 504
    name: str
    patch_size: int
    weights: WeightsSource | None = None

    @abstractmethod
    def forward(
        self,
        images: Float[Tensor, "b v 3 y x"],
        *,
        world_to_camera: Float[Tensor, "b v 3 4"] | None = None,
        intrinsics: Float[Tensor, "b v 3 3"] | None = None,
        reference: Reference | None = None,
        head_chunk: int = 8,
    ) -> Prediction:
        """Reconstruct scenes from images in [0, 1].

        - `reference`: rule by which one view leads the others; the family's own unless given.
        - `head_chunk`: views in the dense heads at once.
        """

    @abstractmethod
    def attention_sites(self) -> list[AttentionSite]:
        """List every attention, in the order of the state dict."""

    @abstractmethod
    def init_weights(self) -> None:
        """Draw all weights anew from the global random state."""

    @abstractmethod
    def set_token_order(self, order: TokenOrder) -> None:
        """Choose the order of patch tokens inside the network; outputs stay the same."""

    @contextmanager
    def in_token_order(self, order: TokenOrder) -> Iterator[None]:
        """Keep patch tokens in an order inside the block, and as they come ("raster") after it.

        So tokens of two networks can be compared, of which one has another order.
        """
        self.set_token_order(order)
        try:
            yield
        finally:
            self.set_token_order("raster")

    @classmethod
    def convert_names(cls, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Give a public checkpoint's entries the names of this backbone's state dict."""
        return dict(state)

    def preprocessing(self, size: int | None = None) -> Preprocess:
        """How the family brings photos to one size; `size` is its side in pixels.

        Raises ValueError for a backbone that does not say so.
        """
        raise ValueError(
            f"{self.name} does not say how it sees photos; preprocess must know: write its "
            "preprocessing, or give method="
        )

    def __call__(
        self,
        images: Tensor,
        *,
        world_to_camera: Tensor | None = None,
        intrinsics: Tensor | None = None,
        reference: Reference | None = None,
        head_chunk: int = 8,
        **more: Any,
    ) -> Prediction:
        """Check images and cameras, then run `forward` with its hooks; `more` is a family's own."""
        check_images(images, self.patch_size)
        check_cameras(images, world_to_camera, intrinsics)
        weight = next(self.parameters(), images)
        if not weight.is_meta:  # it has no values: only shapes are asked for
            check_device(images, "images", weight.device, "the backbone")
        return super().__call__(
            images,
            world_to_camera=world_to_camera,
            intrinsics=intrinsics,
            reference=reference,
            head_chunk=head_chunk,
            **more,
        )


def check_images(images: Tensor, patch_size: int) -> None:
    """Refuse images that a backbone cannot read.

    They must be floating point, `b v 3 y x` with at least one view, sides a positive multiple of
    the patch size, finite, and in [0, 1] (one thousandth of slack). Raises ValueError.
    """
    shape = tuple(check_tensor(images, "images").shape)
    if images.ndim != 5 or shape[2] != 3:
        raise ValueError(
            f"images have shape {shape}; the rule is (scenes, views, 3, height, width): "
            "add the axes that are missing"
        )
    if not images.is_floating_point():
        raise ValueError(f"images are {images.dtype}; they must be floats in [0, 1]: divide by 255")
    if shape[0] < 1 or shape[1] < 1:
        raise ValueError(
            f"images have shape {shape}; at least one scene and one view are needed: leave "
            "empty calls out"
        )
    for side in shape[3:]:
        if side < patch_size or side % patch_size:
            raise ValueError(
                f"images have shape {shape}; height and width must be multiples of {patch_size}: "
                "use recon_backbones.preprocess"
            )
    if not is_readable(images):
        return
    low, high = torch.stack(images.detach().aminmax()).tolist()  # read at once: a GPU waits
    if not low >= -1e-3 or not high <= 1 + 1e-3:  # NaN fails both
        raise ValueError(
            f"images range over [{low:g}, {high:g}]; the rule is finite, in [0, 1]: divide "
            "bytes by 255, or clamp"
        )


def check_choice(name: str, value: object, known: Sequence[object]) -> None:
    """Refuse a value that is none of the known ones; raises ValueError naming them."""
    if value not in known:
        listed = ", ".join(str(k) for k in known) or "none"
        raise ValueError(f"{name}={value!r}; it must be known: pass one of {listed}")


def check_heads(heads: Sequence[str], known: Sequence[str], head_chunk: int) -> None:
    """Refuse unknown heads and chunks without a view; raises ValueError."""
    for head in heads:
        check_choice("head", head, known)
    if head_chunk < 1:
        raise ValueError(f"head_chunk={head_chunk}; it must be at least 1 view: 8 is usual")
