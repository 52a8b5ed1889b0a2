"""Results of `lite3r bench speed` as panels: latency and working memory over views, by size.

Heights are logarithmic, lines are variants, and a bar spans the fastest to the slowest repetition.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from recon_eval.report import Panel, Point, svg

FIGURES = (("latency_ms", "latency, ms"), ("working_memory_mb", "working memory, MB"))

Results = Sequence[Mapping[str, Any]]


def read_results(path: Path) -> Results:
    """Read what `lite3r bench speed --out` wrote. Raises ValueError for another file."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        if document["what"] != "lite3r bench speed":
            raise KeyError("what")
        results: Results = document["results"]
    except (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError) as error:
        raise ValueError(f"{path} holds no results of lite3r bench speed") from error
    return results


def draw(results: Results) -> str:
    """The plot. Raises ValueError when nothing was timed."""
    sizes = dict.fromkeys((result["width"], result["height"]) for result in results)
    views = sorted({result["views"] for result in results})
    return svg(
        [
            Panel(
                title=f"{title}, {size[0]} x {size[1]} pixels",
                x="views",
                y=title,
                points=list(_points(results, size, views, figure)),
                ticks=[str(count) for count in views],
                log=True,
                joined=True,
            )
            for size in sizes
            for figure, title in FIGURES
        ]
    )


def _points(
    results: Results, size: tuple[int, int], views: Sequence[int], figure: str
) -> Iterator[Point]:
    for result in sorted(results, key=lambda result: result["views"]):
        if (result["width"], result["height"]) != size:
            continue
        for row in result["rows"]:
            if figure in row:
                ends = (row["fastest_ms"], row["slowest_ms"]) if figure == "latency_ms" else ()
                yield Point(row["variant"], views.index(result["views"]), row[figure], *ends)
