"""The table of figures for a terminal."""

from collections.abc import Sequence

from rich.table import Table

from recon_eval.pages import Column, Row, measured

ARROWS = {"low": " ↓", "high": " ↑", None: ""}


def rich_table(columns: Sequence[Column], rows: Sequence[Row], title: str) -> Table:
    """One column per model, so that it fits 80 characters."""
    table = Table(title=title, title_justify="left", header_style="bold", row_styles=["", "dim"])
    table.add_column("")
    for row in rows:
        table.add_column(str(row["label"]), justify="right")
    for column in measured(columns, rows):
        unit = f" ({column.unit})" if column.unit else ""
        heading = f"{column.title}{unit}{ARROWS[column.better]}"
        table.add_row(heading, *(column.text(row) for row in rows))
    return table
