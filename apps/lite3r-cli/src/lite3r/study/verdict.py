"""What measurements say in words: which part of the recipe earned what."""

from collections.abc import Mapping
from typing import Any

from recon_eval.report import difference, mean, ratio

# what is changed, the row with it, the row without it
PARTS = (
    ("The order by content", "64 blocks", "sequence order"),
    ("Summaries of what is not attended", "64 blocks", "no summaries"),
    ("Small blocks in content order instead of tiles of 16", "64 blocks", "tiles of 16"),
    ("64 exact blocks instead of 16", "64 blocks", "16 blocks"),
    ("128 exact blocks instead of 64", "128 blocks", "64 blocks"),
    ("Dense frame attention, unlike the paper's operator", "tiles of 16", "paper's operator"),
    ("FP8 weights under dense attention", "dense, FP8 weights", "dense"),
    ("FP8 weights under sparse attention", "64 blocks, FP8 weights", "64 blocks"),
    ("W8A8 instead of FP8 weights", "64 blocks, W8A8", "64 blocks, FP8 weights"),
    ("W8A8 under 16 exact blocks", "16 blocks, W8A8", "16 blocks"),
    ("bfloat16", "dense, bfloat16", "dense"),
    ("Solving for the last layers of attentions", "16 blocks, out", "16 blocks"),
    ("Training low-rank updates", "16 blocks, lora", "16 blocks"),
    ("Training the sparse attentions", "16 blocks, attn", "16 blocks"),
    ("Training everything", "16 blocks, all", "16 blocks"),
    ("Training projections of a linear branch", "tiles of 16, proj", "tiles of 16"),
    ("Low-rank updates towards attention alone", "16 blocks, lora, towards attention", "16 blocks"),
    *(
        (
            f"Attention outputs weighed by {gamma} beside depth and cameras, instead of not at all",
            f"16 blocks, lora, attention by {gamma}",
            "16 blocks, lora, attention by 0",
        )
        for gamma in ("0.1", "1")
    ),
    (
        "Rounding to W8A8 in training instead of afterwards",
        "16 blocks, attn in W8A8",
        "16 blocks, attn, then W8A8",
    ),
    ("The paper's training set-up", "paper's set-up", "paper's operator, FP8 weights"),
    ("Axes calibrated once instead of anew", "64 blocks", "axes computed anew"),
    ("Dense frame attention", "64 blocks", "frame attention too"),
    ("Cells of three sizes instead of two", "64 blocks", "cells 4, 64"),
    ("Cells of two sizes instead of one", "cells 4, 64", "cells 4"),
)

Measured = Mapping[str, Mapping[str, Any]]


def verdict(measured: Measured, group: str) -> list[str]:
    """Sentences about every part that was measured with and without, on one group of scenes."""
    found = []
    for part, name, without in PARTS:
        first, second = measured.get(f"{group}|{name}"), measured.get(f"{group}|{without}")
        if first and second:
            found.append(f"{part}: {_earned(first, second)}")
    rows = ("64 blocks", "16 blocks", "sequence order", "no summaries", "tiles of 16")
    photos = [_on_photos(measured, name) for name in rows]
    return [f"On {group}, paired over scenes.", *found, *(words for words in photos if words)]


def _earned(first: Mapping[str, Any], second: Mapping[str, Any]) -> str:
    depth = ratio(first, second, "abs_rel")
    poses = difference(first, second, "auc30", 100)
    said = []
    for what, interval, better, text in (
        ("depth", depth, depth and depth.high < 1, depth and f"AbsRel {depth.text(3, 'x')}"),
        ("poses", poses, poses and poses.low > 0, poses and f"AUC@30 {poses.text(2)} points"),
    ):
        if interval is None:
            continue
        none = 1.0 if what == "depth" else 0.0
        unsure = interval.low <= none <= interval.high
        said.append(f"{what} {'unchanged' if unsure else 'better' if better else 'worse'} ({text})")
    with_it, without = mean(first, "seen") or 0, mean(second, "seen") or 0
    return f"{', '.join(said)}; {with_it:.0%} of the keys seen against {without:.0%}."


def _on_photos(measured: Measured, name: str) -> str | None:
    figures = measured.get(f"photos|{name}")
    if not figures:
        return None
    depth, poses = mean(figures, "depth_change"), mean(figures, "pose_agreement")
    agrees = "" if poses is None else f" and agrees with its cameras to AUC@30 {poses:.2f}"
    return f"On photos, {name} changes dense depth by {depth:.2%}{agrees}."
