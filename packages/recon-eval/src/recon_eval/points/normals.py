"""Normals of a cloud from the shape of each point's neighborhood.

Source: H. Hoppe et al., "Surface reconstruction from unorganized points", SIGGRAPH 1992, section
3.2.
"""

import numpy as np
import torch
from einops import einsum
from jaxtyping import Float
from torch import Tensor

from recon_eval.checks import Axes
from recon_eval.neighbors import CHUNK, Neighbors


def estimate_normals(points: Float[Tensor, "p 3"], *, neighbors: int = 16) -> Float[Tensor, "p 3"]:
    """Return unit normals without an orientation: the direction in which the neighbors vary least.

    `neighbors` counts the point itself; the cloud must have that many.
    """
    Axes().check(points, "points", "p 3")
    cloud = points.detach().double().cpu().numpy()
    if not 3 <= neighbors <= len(cloud):
        raise ValueError(
            f"neighbors={neighbors}; it must be in 3..{len(cloud)} (the points): 16 is usual"
        )
    tree = Neighbors(cloud)
    normals = np.empty_like(cloud)
    step = max(1, CHUNK // neighbors)
    for start in range(0, len(cloud), step):
        part = slice(start, start + step)
        _, index = tree.tree.query(cloud[part], k=neighbors, workers=tree.workers)
        local = cloud[index] - cloud[index].mean(axis=1, keepdims=True)
        _, vectors = np.linalg.eigh(einsum(local, local, "p n i, p n j -> p i j"))
        normals[part] = vectors[:, :, 0]
    return torch.from_numpy(normals)
