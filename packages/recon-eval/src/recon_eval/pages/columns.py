"""Figures of models as tables show them: in Markdown and in HTML, the best of a line marked."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

from recon_eval.metrics import Better, metric_of

Value = float | None
Row = Mapping[str, Value | str]
"""Figures of one model by key, and its name as `label`."""


@dataclass(frozen=True, kw_only=True)
class Column:
    """One figure of a model.

    - `key`: under which a row holds it; `title`, `unit` and `explanation`: words for people.
    - `scale`: turns the stored unit into the shown one.
    - `better`: which values are better; None where neither is.
    """

    key: str
    title: str
    unit: str = ""
    digits: int = 3
    scale: float | int = 1
    better: Better | None = "low"
    explanation: str

    @classmethod
    def of(cls, key: str, *, digits: int = 3, more: str = "") -> "Column":
        """The column of a metric of this package, thresholds after its name included.

        - `more`: what is said after the explanation. Raises ValueError for a key of no metric.
        """
        known = metric_of(key)
        threshold = key.removeprefix(known.name).lstrip("@")
        return cls(
            key=key,
            title=f"{known.label}@{threshold}" if threshold else known.label,
            unit=known.unit,
            digits=digits,
            better=known.better,
            explanation=known.explanation + more,
        )

    def text(self, row: Row) -> str:
        """The figure of a row; one that does not exist for this model is a dash."""
        value = row.get(self.key)
        if value is None or isinstance(value, str):
            return "-"
        return f"{value * self.scale:,.{self.digits}f}"


def measured(columns: Sequence[Column], rows: Sequence[Row]) -> list[Column]:
    """The columns of which at least one row has a figure."""
    return [column for column in columns if any(column.text(row) != "-" for row in rows)]


def markdown_table(columns: Sequence[Column], rows: Sequence[Row]) -> str:
    """One line per model."""
    titles = ["", *(f"{c.title} ({c.unit})" if c.unit else c.title for c in columns)]
    lines = [titles, ["---", *("---:" for _ in columns)]]
    lines += [[str(row["label"]), *(c.text(row) for c in columns)] for row in rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def html_table(columns: Sequence[Column], rows: Sequence[Row]) -> str:
    """One line per figure that any model has, one column per model."""
    head = "".join(f"<th scope='col'>{escape(str(row['label']))}</th>" for row in rows)
    body = "".join(_line(column, rows) for column in measured(columns, rows))
    return f"<table><thead><tr><td></td>{head}</tr></thead><tbody>{body}</tbody></table>"


def _line(column: Column, rows: Sequence[Row]) -> str:
    texts = [column.text(row) for row in rows]
    best = _best(column, rows)
    cells = "".join(f"<td class='best'>{t}</td>" if t == best else f"<td>{t}</td>" for t in texts)
    unit = f" <small>{column.unit}</small>" if column.unit else ""
    return (
        f"<tr><th scope='row'>{escape(column.title)}{unit}"
        f"<span>{escape(column.explanation)}</span></th>{cells}</tr>"
    )


def _best(column: Column, rows: Sequence[Row]) -> str | None:
    values = [v for row in rows if isinstance(v := row.get(column.key), float | int)]
    if column.better is None or len(values) < 2:
        return None
    best = min(values) if column.better == "low" else max(values)
    return column.text({column.key: best})
