"""The table of a report: which figures, in which unit, and which way is better."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from rich.table import Table

Value = float | None
Row = Mapping[str, Value | str]


@dataclass(frozen=True, kw_only=True)
class Column:
    """One figure of a model. `scale` turns the stored unit into the shown one."""

    key: str
    title: str
    unit: str = ""
    digits: int = 3
    scale: float = 1.0
    better: Literal["low", "high"] | None = None
    explanation: str

    def text(self, row: Row) -> str:
        """The figure as text; a figure that does not exist for this model is a dash."""
        value = row.get(self.key)
        if value is None or isinstance(value, str):
            return "-"
        return f"{value * self.scale:,.{self.digits}f}"


COLUMNS = (
    Column(
        key="absrel",
        title="AbsRel",
        better="low",
        explanation="mean |depth - truth| / truth, after one median scale per scene",
    ),
    Column(
        key="delta1",
        title="δ1",
        better="high",
        explanation="share of pixels whose depth is within a factor 1.25 of the truth",
    ),
    Column(
        key="rotation_degrees",
        title="rotation",
        unit="°",
        digits=2,
        better="low",
        explanation="error of the relative rotation, median over all pairs of views",
    ),
    Column(
        key="translation_degrees",
        title="direction",
        unit="°",
        digits=2,
        better="low",
        explanation="angle between true and predicted baseline, median over all pairs of views",
    ),
    Column(
        key="auc30",
        title="AUC@30",
        better="high",
        explanation="area under the accuracy curve of the larger of both angles, up to 30°",
    ),
    Column(
        key="latency_ms",
        title="latency",
        unit="ms",
        digits=0,
        better="low",
        explanation="median time of one scene on this machine, interleaved repetitions",
    ),
    Column(
        key="peak_memory_mb",
        title="memory",
        unit="MB",
        digits=0,
        better="low",
        explanation="peak memory of one scene, above what the process held before",
    ),
    Column(
        key="density",
        title="kept",
        unit="%",
        digits=1,
        scale=100.0,
        explanation="share of the query-key pairs of global attention that softmax attention sees",
    ),
    Column(
        key="trained_parameters",
        title="trained",
        unit="parameters",
        digits=0,
        explanation="how many numbers distillation changed",
    ),
)


def rich_table(rows: list[Row], title: str) -> Table:
    """The table for a terminal: one column per model, so that it fits 80 characters."""
    table = Table(title=title, title_justify="left", header_style="bold", row_styles=["", "dim"])
    table.add_column("")
    for row in rows:
        table.add_column(str(row["label"]), justify="right")
    for column in COLUMNS:
        arrow = {"low": " ↓", "high": " ↑", None: ""}[column.better]
        unit = f" ({column.unit})" if column.unit else ""
        table.add_row(f"{column.title}{unit}{arrow}", *(column.text(row) for row in rows))
    return table


def markdown_table(rows: list[Row]) -> str:
    """The same table in Markdown, one line per model."""
    titles = ["", *(f"{c.title} ({c.unit})" if c.unit else c.title for c in COLUMNS)]
    lines = [titles, ["---", *("---:" for _ in COLUMNS)]]
    lines += [[str(row["label"]), *(c.text(row) for c in COLUMNS)] for row in rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"
