"""From light to photograph: vignette, blur, exposure, white balance, tone, noise, JPEG."""

import math

import torch
import torch.nn.functional as F
from einops import einsum, rearrange
from jaxtyping import Float
from torch import Tensor

from recon_eval.synthetic.worlds.world import Lens

NOMINAL = 224.0
"""Blur and motion are given in pixels of an image whose longer side is this."""


def photograph(images: Float[Tensor, "v 3 y x"], lens: Lens) -> Float[Tensor, "v 3 y x"]:
    """Spoil images as a lens, a sensor and a JPEG encoder do. Each view depends on itself alone."""
    height, width = images.shape[-2:]
    scale = max(height, width) / NOMINAL
    images = _blur(images * _vignette(lens, height, width), lens, scale)
    gain = lens.exposure[:, None] * lens.white
    images = (images * gain[..., None, None]).clamp(0, 1) ** lens.gamma[:, None, None, None]
    images = images + _noise(images, lens)
    images = images.clamp(0, 1)
    spoiled = (lens.quality < 100).nonzero()[:, 0]
    if len(spoiled):
        images[spoiled] = jpeg(images[spoiled], lens.quality[spoiled])
    return images


def _vignette(lens: Lens, height: int, width: int) -> Float[Tensor, "v 1 y x"]:
    like = lens.vignette
    y, x = (
        torch.linspace(-1, 1, side, dtype=like.dtype, device=like.device)
        for side in (height, width)
    )
    return (1 - lens.vignette[:, None, None] * (x * x + y[:, None] * y[:, None]) / 2)[:, None]


def _blur(images: Tensor, lens: Lens, scale: float) -> Tensor:
    """A Gaussian, stretched along the way in which the camera shook."""
    reach = 4
    if not bool((lens.blur > 0).any() or (lens.motion != 0).any()):
        return images
    at = torch.arange(-reach, reach + 1, device=images.device, dtype=images.dtype)
    y, x = at[:, None], at[None]
    way = lens.motion * scale
    spread = (lens.blur * scale).square().clamp_min(0.05)
    # Inverse of the covariance  spread * 1 + way way^T  (Sherman and Morrison).
    along = way[:, 0, None, None] * x + way[:, 1, None, None] * y
    stretch = 1 / (spread + way.square().sum(1))
    quadratic = (x * x + y * y - along.square() * stretch[:, None, None]) / spread[:, None, None]
    kernel = torch.exp(-0.5 * quadratic)
    kernel = kernel / kernel.sum((1, 2), keepdim=True)
    padded = F.pad(images, [reach] * 4, mode="replicate")
    padded = rearrange(padded, "v c y x -> c v y x")
    blurred = F.conv2d(padded, kernel[:, None], groups=len(images))
    return rearrange(blurred, "c v y x -> v c y x")


def _noise(images: Tensor, lens: Lens) -> Tensor:
    """Shot and read noise; drawn on the CPU, so that every device draws the same."""
    drawn = torch.empty(images.shape, dtype=torch.float32, device="cpu")
    for view, seed in enumerate(lens.seed.tolist()):
        drawn[view].normal_(generator=torch.Generator().manual_seed(seed))
    size = lens.noise[:, None, None, None] * (0.3 + 0.7 * images.sqrt())
    return size * drawn.to(images.device)


LUMA = torch.tensor([
    [16, 11, 10, 16, 24, 40, 51, 61], [12, 12, 14, 19, 26, 58, 60, 55],
    [14, 13, 16, 24, 40, 57, 69, 56], [14, 17, 22, 29, 51, 87, 80, 62],
    [18, 22, 37, 56, 68, 109, 103, 77], [24, 35, 55, 64, 81, 104, 113, 92],
    [49, 64, 78, 87, 103, 121, 120, 101], [72, 92, 95, 98, 112, 100, 103, 99],
], device="cpu")  # fmt: skip
"""Quantization of brightness at quality 50 (ITU T.81, annex K)."""
CHROMA = torch.full((8, 8), 99, device="cpu")
CHROMA[:4, :4] = torch.tensor(
    [[17, 18, 24, 47], [18, 21, 26, 66], [24, 26, 56, 99], [47, 66, 99, 99]], device="cpu"
)
TO_YCC = torch.tensor(
    [[0.299, 0.587, 0.114], [-0.168736, -0.331264, 0.5], [0.5, -0.418688, -0.081312]],
    dtype=torch.float32,
    device="cpu",
)


def jpeg(images: Float[Tensor, "v 3 y x"], quality: Float[Tensor, " v"]) -> Tensor:
    """What JPEG at that quality leaves of images (no entropy coding, no chroma subsampling)."""
    device, (height, width) = images.device, images.shape[-2:]
    ycc = einsum(TO_YCC.to(device), images * 255 - 128, "d c, v c y x -> v d y x")
    padded = F.pad(ycc, (0, -width % 8, 0, -height % 8), mode="replicate")
    blocks = rearrange(padded, "v c (by a) (bx b) -> v c by bx a b", a=8, b=8)
    basis = _cosines().to(device)
    table = torch.stack([LUMA, CHROMA, CHROMA]).to(device)
    percent = torch.where(quality < 50, 5000 / quality, 200 - 2 * quality)
    steps = ((table * percent[:, None, None, None] + 50) / 100).floor().clamp(1, 255)
    steps = steps[:, :, None, None]
    coefficients = ((basis @ blocks @ basis.T) / steps).round() * steps
    restored = rearrange(basis.T @ coefficients @ basis, "v c by bx a b -> v c (by a) (bx b)")
    inverse = torch.linalg.inv(TO_YCC).to(device)
    rgb = einsum(inverse, restored[..., :height, :width], "d c, v c y x -> v d y x")
    return ((rgb + 128) / 255).clamp(0, 1)


def _cosines() -> Float[Tensor, "8 8"]:
    """The orthonormal cosine transform of eight samples."""
    n = torch.arange(8, dtype=torch.float32, device="cpu")
    basis = torch.cos(math.pi * (2 * n + 1) * n[:, None] / 16) / 2
    basis[0] /= 2**0.5
    return basis
