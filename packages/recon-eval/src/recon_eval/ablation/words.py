"""What an ablation says in words: which part earned what."""

from collections.abc import Iterable, Mapping
from typing import Any

from recon_eval.ablation.rows import named
from recon_eval.report import difference, mean, ratio

Measured = Mapping[str, Mapping[str, Any]]

FEWEST = 8  # scenes: intervals of fewer miss the truth more often than one time in eight


def verdict(
    measured: Measured, group: str, parts: Iterable[tuple[str, str, str]], on_photos: Iterable[str]
) -> list[str]:
    """Sentences about every part that was measured with and without, on one group of scenes.

    - `parts`: what is changed, the row with it, the row without it. It is called better or worse
      where the interval of at least 8 scenes leaves no difference out.
    - `on_photos`: rows that something is said about on the group `photos`, which has no truth.
    """
    found = []
    for part, name, without in parts:
        first, second = (measured.get(named(group, row)) for row in (name, without))
        if first and second:
            found.append(f"{part}: {_earned(first, second)}")
    photos = [_on_photos(measured, name) for name in on_photos]
    return [f"On {group}, paired over scenes.", *found, *(words for words in photos if words)]


def _earned(first: Mapping[str, Any], second: Mapping[str, Any]) -> str:
    few = len(first.keys() & second.keys()) < FEWEST
    depth = ratio(first, second, "abs_rel")
    poses = difference(first, second, "auc30", 100)
    said = []
    for what, interval, better, text in (
        ("depth", depth, depth and depth.value < 1, depth and f"AbsRel {depth.text(3, 'x')}"),
        ("poses", poses, poses and poses.value > 0, poses and f"AUC@30 {poses.text(2)} points"),
    ):
        if interval is None:
            continue
        sure = not few and interval.without(1.0 if what == "depth" else 0.0)
        word = ("better" if better else "worse") if sure else "not told apart"
        said.append(f"{what} {word} ({text})")
    with_it, without = mean(first, "seen") or 0, mean(second, "seen") or 0
    known = "; too few scenes to tell" if few else ""
    return f"{', '.join(said)}; {with_it:.0%} of the keys seen against {without:.0%}{known}."


def _on_photos(measured: Measured, name: str) -> str | None:
    figures = measured.get(named("photos", name))
    if not figures:
        return None
    depth, poses = mean(figures, "depth_change"), mean(figures, "pose_agreement")
    agrees = "" if poses is None else f" and agrees with its cameras to AUC@30 {poses:.2f}"
    return f"On photos, {name} changes dense depth by {depth:.2%}{agrees}."
