"""What was measured on a GPU, a file a step of `nox -s gpu`."""

from typing import Any

from .layout import load, table

GPU = "h200"
DENSE = ("dense bfloat16", "dense bfloat16, compiled", "dense bfloat16, captured")
OURS = ("ours", "ours + FP8", "ours, compiled")
NONE = "not measured"


def gpu_checks() -> str:
    """Kernels against their references: how many of a kind, and how near to what is allowed."""
    kinds: dict[str, list[dict[str, Any]]] = {}
    for row in load(f"gpu-{GPU}-smoke.json")["rows"]:
        if "error" in row:
            kinds.setdefault(row["check"].split(",")[0], []).append(row)
    rows = [
        (
            kind,
            str(len(found)),
            f"{max(row['error'] for row in found):.1g}",
            f"{max(row['allowed'] for row in found):.1g}",
        )
        for kind, found in kinds.items()
    ]
    header = ("what", "checks", "largest error", "allowed at most")
    return f"{table(header, rows)}\n\n{_machine('smoke')}"


def gpu_models() -> str:
    """Whole networks: the fastest dense way, ours, and memory beside its prediction."""
    header = ("network", "views", "fastest dense bfloat16", *OURS, "peak beside weights, predicted")
    rows = [
        (name, str(views), *_model(found))
        for name in ("da3-large", "vggt-1b")
        for views, found in _by_views(load(f"gpu-{GPU}-{name}.json")["rows"]).items()
    ]
    return (
        f"{table(header, rows)}\n\nSquare photos of 518 pixels, random weights, recipe balanced, "
        "medians of one scene's pass. Dense: the fastest of eager, compiled and compiled as one "
        f"CUDA graph; ours: eager unless it says so, FP8 as W8A8. {_machine('vggt-1b')}"
    )


def _by_views(rows: list[dict[str, Any]]) -> dict[int, dict[str, dict[str, Any]]]:
    """Rows by views and variant; a first call that compiled is no measurement."""
    found: dict[int, dict[str, dict[str, Any]]] = {}
    for row in rows:
        compiling = len(row.get("all_ms", [])) == 1 and row["views"] == 2
        if "ms" in row and not compiling:
            found.setdefault(row["views"], {})[row["variant"]] = row
    return found


def _model(found: dict[str, dict[str, Any]]) -> list[str]:
    dense = min((found[name]["ms"] for name in DENSE if name in found), default=None)
    ours = [_beside(found.get(name), dense) for name in OURS]
    row = found["ours"]
    peak, told = row["peak_bytes"] / 1e9, row["predicted_peak_bytes"] / 1e9
    return [NONE if dense is None else f"{dense:,.0f} ms", *ours, f"{peak:.2f} GB, {told:.2f}"]


def _beside(row: dict[str, Any] | None, dense: float | None) -> str:
    if row is None:
        return NONE
    times = "" if dense is None else f", {dense / row['ms']:.1f}x"
    return f"{row['ms']:,.0f} ms{times}"


def gpu_attention() -> str:
    """Sparse attention over blocks beside SDPA's backends."""
    header = ("tokens", "blocks kept", "flash", "cuDNN", "ours, attention alone", "ours, module")
    names = ("dense/flash_attention", "dense/cudnn_attention", "ours/sparse", "ours/module")
    rows = []
    for row in load(f"gpu-{GPU}-attention.json")["rows"]:
        if row["of"] != "PyTorch and ours":
            continue
        found = {one["contender"]: one for one in row["contenders"]}
        cells = [_both(found[name]) for name in names]
        rows.append((f"{row['tokens']:,}", f"{row['keep']:.0%}", *cells))
    return (
        f"{table(header, rows)}\n\nForward, and forward with backward, in ms; 16 heads of 64, "
        f"bfloat16, blocks of 128 x 64, medians of 5 (2 of the longest). {_machine('attention')}"
    )


def _both(one: dict[str, Any]) -> str:
    forward, both = (1e3 * one[name]["median"] for name in ("forward", "forward_backward"))
    return f"{forward:.1f}, {both:.1f}"


def gpu_rows() -> str:
    """One order, few exact blocks, summaries: the whole and its parts."""
    header = (
        *("tokens", "dense, forward", "balanced", "fast", "of balanced: order", "order and choice"),
        *("means and attention", "dense, with backward", "balanced, with backward"),
    )
    parts = (
        *(("dense", "forward"), ("balanced", "forward"), ("fast", "forward"), ("order", "forward")),
        ("balanced, order and choice", "forward"),
        ("balanced, means and attention", "forward"),
        *(("dense", "both"), ("balanced", "both")),
    )
    found = {
        (row["tokens"], row["what"], row["pass"]): row["ms"]
        for row in load(f"gpu-{GPU}-rows.json")["rows"]
    }
    rows = []
    for tokens in dict.fromkeys(key[0] for key in found):
        times = (found.get((tokens, *part)) for part in parts)
        rows.append((f"{tokens:,}", *(NONE if ms is None else f"{ms:.2f}" for ms in times)))
    return (
        f"{table(header, rows)}\n\nIn ms; 16 heads of 64, bfloat16, a call at a time, launches "
        f"included. {_machine('rows')}"
    )


def gpu_linears() -> str:
    """FP8 beside bfloat16, by layer and number of tokens."""
    ways = ("bfloat16", "FP8, product alone", "FP8, quantized first")
    more = ("norm", "norm and quantization, fused")
    found: dict[tuple[int, str], dict[str, float]] = {}
    for row in load(f"gpu-{GPU}-linears.json")["rows"]:
        found.setdefault((row["tokens"], row["layer"]), {})[row["what"]] = row["ms"]
    rows = [
        (f"{tokens:,}", layer, *(f"{times[name]:.2f}" for name in (*ways, *more)))
        for (tokens, layer), times in found.items()
    ]
    return (
        f"{table(('tokens', 'layer', *ways, *more), rows)}\n\nIn ms; width 1024, scales by row, "
        f"eager. {_machine('linears')}"
    )


def _machine(step: str) -> str:
    found = load(f"gpu-{GPU}-{step}.json")["machine"]
    versions = found["versions"]
    return (
        f"Measured on one {found['gpu']['name']}, torch {versions['torch']}, Triton "
        f"{versions['triton']}, `nox -s gpu -- --only {step}`."
    )
