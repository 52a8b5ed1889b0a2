"""The table of figures, for a terminal and in Markdown."""

from collections.abc import Mapping

from rich.table import Table

from lite3r.bench.metrics import METRICS, Metric

Value = float | None
Row = Mapping[str, Value | str]


def text(metric: Metric, row: Row) -> str:
    """A figure as text; one that does not exist for this model is a dash."""
    value = row.get(metric.key)
    if value is None or isinstance(value, str):
        return "-"
    return f"{value * metric.scale:,.{metric.digits}f}"


def rich_table(rows: list[Row], title: str) -> Table:
    """The table for a terminal: one column per model, so that it fits 80 characters."""
    table = Table(title=title, title_justify="left", header_style="bold", row_styles=["", "dim"])
    table.add_column("")
    for row in rows:
        table.add_column(str(row["label"]), justify="right")
    for column in METRICS:
        arrow = {"low": " ↓", "high": " ↑", None: ""}[column.better]
        unit = f" ({column.unit})" if column.unit else ""
        table.add_row(f"{column.title}{unit}{arrow}", *(text(column, row) for row in rows))
    return table


def markdown_table(rows: list[Row]) -> str:
    """The same table in Markdown, one line per model."""
    titles = ["", *(f"{c.title} ({c.unit})" if c.unit else c.title for c in METRICS)]
    lines = [titles, ["---", *("---:" for _ in METRICS)]]
    lines += [[str(row["label"]), *(text(c, row) for c in METRICS)] for row in rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"
