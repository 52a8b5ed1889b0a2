"""The settings of a linear branch, and what of them cannot work."""

from typing import NamedTuple

from sla_kernels.linear.features import FEATURE_MAPS
from sla_kernels.runtime.checks import check_choice
from sla_kernels.select.selection import BlockSelection
from sla_kernels.summary.selection import SummarySelection

SCOPES = ("all", "complement", "marginal", None)


class Rule(NamedTuple):
    """The settings of a linear branch; the fields are arguments of its operators."""

    scope: str  # "all", "complement" or "marginal"
    feature_map: str
    eps: float


def rule_of(linear: str | None, feature_map: str, eps: float, negligible: float) -> Rule | None:
    """The settings as a rule, None for no linear branch; refused where they cannot work."""
    check_choice("linear", linear, SCOPES)
    check_choice("feature_map", feature_map, tuple(FEATURE_MAPS))
    if not eps >= 0:
        raise ValueError(f"eps={eps!r}; it must be at least 0: pass 1e-5, say")
    if negligible and linear != "marginal":
        raise ValueError(
            f"negligible={negligible!r} with linear={linear!r}; it concerns scope 'marginal' "
            "alone: pass linear='marginal' or negligible=0.0"
        )
    return None if linear is None else Rule(linear, feature_map, eps)


def check_scope(rule: Rule | None, selection: BlockSelection | SummarySelection) -> None:
    """Refuse a scope that a selection says nothing of."""
    if rule is None or rule.scope == "all":
        return
    if isinstance(selection, SummarySelection):
        check_scope_of_rows(rule)
    elif rule.scope == "marginal" and selection.negligible is None:
        raise ValueError(
            "linear='marginal' with a selection without a negligible class; it must have one: "
            "pass negligible=0.1, say, to select_blocks or sla_attention"
        )


def check_scope_of_rows(rule: Rule | None) -> None:
    """Refuse a linear branch over some keys beside lists of rows, which know no blocks left out."""
    if rule is not None and rule.scope != "all":
        raise ValueError(
            f"linear={rule.scope!r} with order='content' or a summary; the scope must be 'all' "
            "there: pass linear='all' or linear=None"
        )
