"""Depth of several views of one scene against ground truth, with everything the number rests on."""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from recon_eval.checks import Axes
from recon_eval.depth.alignment import ALIGNMENTS, Alignment, Scope, align
from recon_eval.depth.metrics import FORMULAS, DepthMetrics, measure

_Aligned = tuple[Tensor, tuple[float, ...], tuple[float, ...]]

CLAMP = (1e-3, 1e3)  # allowed depths after alignment, in medians of the true depth


@dataclass(frozen=True, kw_only=True)
class DepthResult(DepthMetrics):
    """Depth metrics of one scene, means over its views that have valid pixels, and their ground.

    `per_view` holds each metric of each view, NaN where a view has no valid pixel;
    `dropped_views` counts those, and they are left out of the means. `clamped` counts valid
    pixels whose aligned depth was moved into [1e-3, 1e3] medians of the true depth.
    """

    alignment: Alignment
    scope: Scope
    scales: tuple[float, ...]
    shifts: tuple[float, ...]
    valid: int
    ignored: int
    clamped: int
    dropped_views: int
    per_view: dict[str, tuple[float, ...]]

    @property
    def protocol(self) -> str:
        """The identifier under which numbers may be compared."""
        return f"depth/{self.alignment}/{self.scope}"

    def numbers(self) -> dict[str, float]:
        """Return every metric by name."""
        return {name: float(getattr(self, name)) for name in FORMULAS}

    def provenance(self) -> dict[str, object]:
        """Return what the numbers rest on, ready for JSON."""
        names = ("alignment", "scope", "scales", "shifts", "valid", "ignored", "clamped")
        return {name: getattr(self, name) for name in (*names, "dropped_views")}


def evaluate(
    predicted: Float[Tensor, "v y x"],
    target: Float[Tensor, "v y x"],
    valid: Bool[Tensor, "v y x"] | None = None,
    *,
    alignment: Alignment = "median",
    scope: Scope = "sequence",
) -> DepthResult:
    """Compare z-depth of the views of one scene with the truth, in any one unit.

    `valid` marks pixels with a true depth; without it these are the finite ones above 0. One
    alignment is fitted to all views together (`scope="sequence"`: a scale that drifts between views
    counts as an error) or to each view alone ("image"). Metrics are means over the pixels of a
    view, then over views.

    Raises ValueError for a prediction that is not finite at a valid pixel, for a true depth that is
    not positive and finite where `valid` says so, and where no view has a valid pixel.
    """
    mask = _check(predicted, target, valid, alignment, scope)
    d, g = predicted.double(), target.double()
    if scope == "sequence":
        d, scales, shifts = _align_together(d, g, mask, alignment)
    else:
        d, scales, shifts = _align_each(d, g, mask, alignment)
    low, high = (bound * float(g[mask].median()) for bound in CLAMP)
    clamped = int(((d[mask] < low) | (d[mask] > high) | ~torch.isfinite(d[mask])).sum())
    d = torch.nan_to_num(d, nan=high, posinf=high, neginf=low).clamp(low, high)
    rows = [
        measure(d[i][m], g[i][m]) if bool(m.any()) else dict.fromkeys(FORMULAS, math.nan)
        for i, m in enumerate(mask)
    ]
    per_view = {name: tuple(row[name] for row in rows) for name in FORMULAS}
    means = {name: _mean(values) for name, values in per_view.items()}
    return DepthResult(
        **means,
        alignment=alignment,
        scope=scope,
        scales=scales,
        shifts=shifts,
        valid=int(mask.sum()),
        ignored=int((~mask).sum()),
        clamped=clamped,
        dropped_views=sum(not bool(m.any()) for m in mask),
        per_view=per_view,
    )


def _align_together(d: Tensor, g: Tensor, mask: Tensor, alignment: Alignment) -> _Aligned:
    aligned, scale, shift = align(d[mask], g[mask], alignment)
    d = d.clone()
    d[mask] = aligned
    return d, (scale,), (shift,)


def _align_each(d: Tensor, g: Tensor, mask: Tensor, alignment: Alignment) -> _Aligned:
    d, fits = d.clone(), []
    for i, m in enumerate(mask):
        if not bool(m.any()):
            fits.append((math.nan, math.nan))
            continue
        aligned, scale, shift = align(d[i][m], g[i][m], alignment)
        d[i][m] = aligned
        fits.append((scale, shift))
    return d, tuple(f[0] for f in fits), tuple(f[1] for f in fits)


def _check(
    predicted: Tensor, target: Tensor, valid: Tensor | None, alignment: str, scope: str
) -> Tensor:
    if alignment not in ALIGNMENTS:
        raise ValueError(
            f"alignment={alignment!r}; it must be known: pass one of {', '.join(ALIGNMENTS)}"
        )
    if scope not in ("sequence", "image"):
        raise ValueError(f"scope={scope!r}; it must be known: pass 'sequence' or 'image'")
    axes = Axes()
    axes.check(target, "target", "v y x")
    axes.check(predicted, "predicted", "v y x", way="depth.resize brings depth to another size")
    if valid is not None:
        axes.check(valid, "valid", "v y x", boolean=True)
    usable = torch.isfinite(target) & (target > 0)
    mask = usable if valid is None else valid
    if bool((mask & ~usable).any()):
        count = int((mask & ~usable).sum())
        raise ValueError(
            f"target: {count} valid pixels are not finite and positive; all must be: mask them"
        )
    if not bool(mask.any()):
        raise ValueError(
            "target: no pixel of any view is valid; nothing can be measured: leave such scenes out"
        )
    broken = mask & ~torch.isfinite(predicted)
    if bool(broken.any()):
        views = sorted(set(broken.nonzero()[:, 0].tolist()))
        raise ValueError(
            f"predicted: NaN or infinite at {int(broken.sum())} valid pixels (views "
            f"{views}); a number over the rest would hide it: mask these pixels in `valid` "
            "to leave them out"
        )
    return mask


def _mean(values: tuple[float, ...]) -> float:
    kept = [value for value in values if not math.isnan(value)]
    return math.fsum(kept) / len(kept)
