"""What each part of a recipe earns, by truth and by the dense network itself."""

from typing import Any

from .layout import load, table, where

ON_TRUTH = ("AbsRel of dense's", "AUC@30, points from dense")
ON_PHOTOS = ("change of depth on photos", "pose agreement")


def content_order() -> str:
    """Students beside their teacher, nothing trained."""
    record = load("content-order-study.json")
    counts = ("8 views", "16 views", "32 views")
    few, many, most, photos = _groups(record, *counts, "photos")
    header = (
        "attention",
        *(f"{words}, {views}" for views in counts for words in ON_TRUTH),
        *ON_PHOTOS,
        "keys exact",
        "keys seen",
    )
    rows = [
        (
            name,
            *(text for of in (few, many, most) for text in _truth(of[name])),
            *_change(photos[name]),
            *_keys(row),
        )
        for name, row in few.items()
        if name in photos
    ]
    dense = [of["dense"] for of in (few, many, most)]
    known = ", ".join(
        f"{row['scenes']} of {views} (dense: AbsRel {row['abs_rel']:.4f}, AUC@30 "
        f"{row['auc30']:.3f})"
        for row, views in zip(dense, counts, strict=True)
    )
    sets = photos["dense"]["scenes"]
    return (
        f"{table(header, rows)}\n\n{record['backbone']}, nothing trained, unseen synthetic scenes "
        f"at {record['setting']['size']} pixels, those of 32 views of a wider world: {known}; "
        "paired 95 % bootstrap intervals; keys of 8 views; "
        f"{sets} sets of up to 16 photographs, compared with the dense network. "
        f"{where(record['environment'])}"
    )


def quality() -> str:
    """All rows of a study, those that train among them, and what it says in words."""
    record = load("quality-da3-tiny.json")
    two, few, photos = _groups(record, "2 views", "8 views", "photos")
    header = (
        "network",
        *(f"{words}, {views}" for views in ("2 views", "8 views") for words in ON_TRUTH),
        *ON_PHOTOS,
    )
    rows = [
        (name, *_truth(two[name]), *_truth(row), *_change(photos[name]))
        for name, row in few.items()
        if name in photos
    ]
    said = "\n".join(f"- {sentence}" for sentence in record["verdict"])
    return (
        f"{table(header, rows)}\n\n{record['backbone']}, {few['dense']['scenes']} unseen "
        f"synthetic scenes of 2 views and as many of 8 at {record['setting']['size']} pixels; "
        f"paired 95 % bootstrap intervals; {photos['dense']['scenes']} sets of up to 16 "
        f"photographs, compared with the dense network. {where(record['environment'])}\n\n"
        f"Its verdict:\n\n{said}"
    )


def quality_of_many() -> str:
    """The same rows on scenes of more views, as far as they were measured on all."""
    record, counts = load("quality-da3-tiny.json"), ("16 views", "32 views")
    return _by_views(record, counts, "those of 32 views of a wider world; ")


def quality_vggt() -> str:
    """Some of the rows with the small VGGT."""
    return _by_views(load("quality-vggt-tiny.json"), ("8 views", "16 views"), "")


def _by_views(record: dict[str, Any], counts: tuple[str, ...], said: str) -> str:
    groups = _groups(record, *counts)
    header = ("network", *(f"{words}, {views}" for views in counts for words in ON_TRUTH))
    missing = ("not measured", "not measured")
    scenes, size = groups[0]["dense"]["scenes"], record["setting"]["size"]
    rows = [
        (
            name if row["scenes"] == scenes else f"{name} ({row['scenes']} scenes)",
            *(text for of in groups for text in (_truth(of[name]) if name in of else missing)),
        )
        for name, row in groups[0].items()
    ]
    return (
        f"{table(header, rows)}\n\n{record['backbone']}, {scenes} unseen synthetic scenes of "
        f"either number of views at {size} pixels; {said}paired 95 % bootstrap intervals. "
        f"{where(record['environment'])}"
    )


def fp8_rounded() -> str:
    """FP8 weights rounded to suit their inputs beside the nearest codes."""
    record = load("fp8-rounded.json")
    few, photos = _groups(record, "8 views", "photos")
    header = ("network", *ON_TRUTH, *ON_PHOTOS)
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


def _groups(record: dict[str, Any], *names: str) -> list[dict[str, dict[str, Any]]]:
    """The rows of each group of scenes, by name."""
    return [
        {row["row"]: row for row in record["summary"] if row["group"] == name} for name in names
    ]


def _keys(row: dict[str, Any]) -> tuple[str, str]:
    return f"{100 * row['exact']:.0f} %", f"{100 * row['seen']:.0f} %"


def _change(photos: dict[str, Any]) -> tuple[str, str]:
    return f"{100 * photos['depth_change']:.2f} %", f"{photos['pose_agreement']:.3f}"


def _truth(row: dict[str, Any]) -> tuple[str, str]:
    depth, poses = row["abs_rel_of_dense"], row["auc30_points"]
    return (
        f"{depth['value']:.3f}x [{depth['low']:.3f}, {depth['high']:.3f}]",
        f"{poses['value']:+.2f} [{poses['low']:+.2f}, {poses['high']:+.2f}]",
    )
