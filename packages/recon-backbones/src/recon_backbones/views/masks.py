"""Which pixels to trust: by confidence, away from depth edges, without sky and background."""

import cv2
import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8

from recon_backbones.errors import InputError
from recon_backbones.prediction import Prediction
from recon_backbones.views.options import Masks

BLACK, WHITE = 24, 231  # of 255: backgrounds are below or above in every channel, JPEG's noise in
FRINGE = 1  # pixels by which a background grows, as its edge is mixed with the object
SMOOTH = 6.0  # of 255: the sky's gray values differ by less within 5 x 5 pixels
BRIGHT, BLUE = 150, 12  # gray value from which cloud may be, and lead of blue over red
FAR = 0.5  # quantile of depth above which sky lies


def keep_pixels(
    prediction: Prediction,
    pictures: UInt8[np.ndarray, "v y x 3"],
    seen: Bool[np.ndarray, "v y x"],
    options: Masks,
) -> Bool[np.ndarray, "v y x"]:
    """Pixels that become points: seen, with a depth, and passing every mask that is asked for.

    Confidence is judged last, over the pixels of all views that are left.

    - `pictures`: the views as the network saw them.
    - `seen`: False where a view was padded.

    Raises InputError when no pixel has a depth, and when none is left, naming the strictest mask.
    """
    depth, confidence = prediction.depth[0], prediction.depth_conf[0]
    kept = seen & (depth.isfinite() & (depth > 0) & confidence.isfinite()).numpy()
    if not kept.any():
        raise InputError(
            "no pixel of the photos has a depth and a confidence; some must, as no mask can help: "
            "take other photos or weights"
        )
    masks = {"edge_tolerance": ~prediction.edges(relative=options.edge_tolerance)[0].numpy()}
    if options.mask_sky:
        masks["mask_sky"] = ~_sky_of(prediction, pictures)
    if options.mask_background != "none":
        color = options.mask_background
        masks["mask_background"] = ~np.stack([background(p, color) for p in pictures])
    for mask in masks.values():
        kept &= mask
    if not kept.any():
        strictest = min(masks, key=lambda name: float(masks[name].mean()))
        raise InputError(
            f"the masks leave no pixel; {strictest} alone leaves {masks[strictest].mean():.1%}: "
            "loosen it"
        )
    bound = _quantile(confidence[torch.from_numpy(kept)], options.confidence_percentile / 100)
    return kept & (confidence >= bound).numpy()


def _sky_of(
    prediction: Prediction, pictures: UInt8[np.ndarray, "v y x 3"]
) -> Bool[np.ndarray, "v y x"]:
    """What the network itself takes for sky where it tells, else by rule of thumb."""
    if prediction.sky is not None:
        return prediction.in_sky()[0].numpy()
    far = prediction.depth[0].numpy()
    return np.stack([sky(p, d) for p, d in zip(pictures, far, strict=True)])


def background(picture: UInt8[np.ndarray, "y x 3"], color: str) -> Bool[np.ndarray, "y x"]:
    """Pixels of one flat color, "black" or "white", that an edge of the picture touches.

    What is as dark or bright inside the object stays.
    """
    of_color = picture < BLACK if color == "black" else picture > WHITE
    flat: Bool[np.ndarray, "y x"] = np.asarray(of_color.all(axis=-1))
    return _grown(_touching(flat, np.ones(4, dtype=bool)))


def sky(
    picture: UInt8[np.ndarray, "y x 3"], depth: Float[np.ndarray, "y x"]
) -> Bool[np.ndarray, "y x"]:
    """Smooth, bright or blue pixels in the farther half that the picture's upper edge touches.

    A rule of thumb, made for upright photos by day; a network that segments sky knows better.
    """
    gray = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY).astype(np.float32)
    mean = cv2.blur(gray, (5, 5))
    deviation = np.sqrt(np.maximum(cv2.blur(gray * gray, (5, 5)) - mean * mean, 0))
    lead = picture[..., 2].astype(int) - picture[..., 0].astype(int)
    colored = (mean > BRIGHT) | ((lead > BLUE) & (mean > BRIGHT / 3))
    known = depth[np.isfinite(depth) & (depth > 0)]
    far = depth >= np.quantile(known, FAR) if len(known) else np.ones(depth.shape, dtype=bool)
    smooth = (deviation < SMOOTH) & colored & far
    return _grown(_touching(smooth, np.array([True, False, False, False])))


def _touching(
    mask: Bool[np.ndarray, "y x"], edges: Bool[np.ndarray, "4"]
) -> Bool[np.ndarray, "y x"]:
    """The connected pieces of a mask that touch the named edges (top, bottom, left, right)."""
    _, labels = cv2.connectedComponents(mask.astype(np.uint8), connectivity=4)
    rows = (labels[0], labels[-1], labels[:, 0], labels[:, -1])
    found = np.unique(np.concatenate([r for r, used in zip(rows, edges, strict=True) if used]))
    return np.isin(labels, found[found > 0])


def _grown(mask: Bool[np.ndarray, "y x"]) -> Bool[np.ndarray, "y x"]:
    kernel = np.ones((2 * FRINGE + 1,) * 2, np.uint8)
    return cv2.dilate(mask.astype(np.uint8), kernel).astype(bool)


def _quantile(values: Float[torch.Tensor, " n"], share: float) -> float:
    """As `torch.quantile` takes the lower value, for any number of values."""
    rank = min(int(share * len(values)), len(values) - 1)
    return float(values.kthvalue(rank + 1).values)
