"""What each part of a recipe earns, by truth and by the dense network itself."""

from typing import Any

from .layout import load, table, where

ON_PHOTOS = ("change of depth on photos", "pose agreement")


def content_order() -> str:
    """Students beside their teacher, nothing trained."""
    record = load("content-order-study.json")
    few, many, photos = (
        {row["row"]: row for row in record["summary"] if row["group"] == group}
        for group in ("8 views", "16 views", "photos")
    )
    header = (
        "attention",
        "AbsRel of dense's, 8 views",
        "AUC@30, points from dense",
        "AbsRel of dense's, 16 views",
        "AUC@30, points from dense",
        *ON_PHOTOS,
        "keys exact",
        "keys seen",
    )
    rows = [
        _row(name, row, many[name], photos[name]) for name, row in few.items() if name in photos
    ]
    dense, more = few["dense"], many["dense"]
    sets = photos["dense"]["scenes"]
    return (
        f"{table(header, rows)}\n\n{record['backbone']}, nothing trained, unseen synthetic scenes "
        f"at {record['setting']['size']} pixels: {dense['scenes']} of 8 views (dense: AbsRel "
        f"{dense['abs_rel']:.4f}, AUC@30 {dense['auc30']:.3f}) and {more['scenes']} of 16 views "
        f"({more['abs_rel']:.4f}, {more['auc30']:.3f}); paired 95 % bootstrap intervals; keys of "
        f"8 views; {sets} sets of up to 16 photographs, compared with the dense network. "
        f"{where(record['environment'])}"
    )


def fp8_rounded() -> str:
    """FP8 weights rounded to suit their inputs beside the nearest codes."""
    record = load("fp8-rounded.json")
    few, photos = (
        {row["row"]: row for row in record["summary"] if row["group"] == group}
        for group in ("8 views", "photos")
    )
    header = ("network", "AbsRel of dense's", "AUC@30, points from dense", *ON_PHOTOS)
    rows = [
        (name, *_truth(row), *_change(photos[name])) for name, row in few.items() if name in photos
    ]
    size, sets = record["setting"]["size"], photos["dense"]["scenes"]
    return (
        f"{table(header, rows)}\n\n{record['backbone']}, {few['dense']['scenes']} unseen "
        f"synthetic scenes of 8 views at {size} pixels; paired 95 % bootstrap intervals; {sets} "
        "sets of up to 8 photographs, short enough that every key is attended, compared with the "
        f"dense network in float32. {where(record['environment'])}"
    )


def _row(
    name: str, few: dict[str, Any], many: dict[str, Any], photos: dict[str, Any]
) -> tuple[str, ...]:
    return (
        name,
        *_truth(few),
        *_truth(many),
        *_change(photos),
        f"{100 * few['exact']:.0f} %",
        f"{100 * few['seen']:.0f} %",
    )


def _change(photos: dict[str, Any]) -> tuple[str, str]:
    return f"{100 * photos['depth_change']:.2f} %", f"{photos['pose_agreement']:.3f}"


def _truth(row: dict[str, Any]) -> tuple[str, str]:
    depth, poses = row["abs_rel_of_dense"], row["auc30_points"]
    return (
        f"{depth['value']:.3f}x [{depth['low']:.3f}, {depth['high']:.3f}]",
        f"{poses['value']:+.2f} [{poses['low']:+.2f}, {poses['high']:+.2f}]",
    )
