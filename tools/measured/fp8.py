"""FP8: memory, speed, recipes, and the code of its kernel."""

from collections.abc import Iterator
from typing import Any

from .layout import MIB, load, machine, table


def fp8_memory() -> str:
    """A frozen FP8 stack beside bfloat16."""
    record = load("fp8-frozen-memory.json")
    rows = [
        ("bfloat16", f"{record['bfloat16_bytes'] / MIB:.1f} MiB", "1"),
        ("frozen FP8", f"{record['released_fp8_bytes'] / MIB:.1f} MiB", f"{record['ratio']:.3f}"),
    ]
    s = record["settings"]
    return (
        f"{table(('stack', 'peak, forward and backward', 'ratio'), rows)}\n\n"
        f"{s['layers']} layers of width {s['dim']}, {s['tokens']} tokens, torch {record['torch']}."
    )


def fp8_recipes() -> str:
    """What every ready recipe costs after training and with it."""
    record = load("fp8-recipes.json")
    header = ("recipe", "high precision", "post-training", "trained", "layers", "bits a weight")
    rows = [
        (
            f"`{name}`",
            *(_spread(row, key) for key in ("high_precision", "post_training", "trained")),
            f"{row['layer_sqnr_db']:.1f} dB",
            f"{row['bits_per_weight']:.2f}",
        )
        for name, row in record["rows"].items()
    ]
    s = record["settings"]
    return (
        f"{table(header, rows)}\n\nMeans over {s['seeds']} seeds, from the smallest to the "
        f"largest in brackets; {s['steps']} steps. {machine(record['machine'])}"
    )


def _spread(row: dict[str, Any], key: str) -> str:
    one = [run[f"{key}_percent"] for run in row["runs"]]
    return f"{row[f'{key}_percent']:.2f} ({min(one):.2f} to {max(one):.2f})"


def fp8_linears() -> str:
    """The linear layers of a ViT block beside bfloat16."""
    record = load("fp8-block-linears-cpu.json")
    header = ("layers", "forward", "forward and backward", "output against bfloat16")
    rows = [
        (
            name,
            _milliseconds(row["forward_ms"]),
            _milliseconds(row["forward_backward_ms"]),
            "" if row["sqnr_db"] is None else f"{row['sqnr_db']:.1f} dB",
        )
        for name, row in record["rows"].items()
    ]
    s = record["settings"]
    return (
        f"{table(header, rows)}\n\n{s['tokens']} tokens of width {s['dim']}, medians of "
        f"{s['repetitions']}. {machine(record['machine'])} This CPU has no FP8 units: it "
        "emulates FP8 products, which is work that a GPU with FP8 does not have."
    )


def _milliseconds(value: float | None) -> str:
    return "" if value is None else f"{value:.0f} ms"


def fp8_deployed() -> str:
    """Deployed linear layers on a CPU, as ratios to float32."""
    record = load("fp8-linears-cpu-deployed.json")
    names = [name for name in record["rows"][0]["ratio_to_float32"] if name != "float32"]
    header = ("tokens", "layer", *names, "bytes")
    rows = [
        (
            str(row["tokens"]),
            f"{row['inputs']} to {row['outputs']}",
            *(f"{row['ratio_to_float32'][name]:.2f}" for name in names),
            f"{row['bytes_fp8'] / row['bytes_float32']:.2f}",
        )
        for row in record["rows"]
    ]
    s = record["settings"]
    return (
        f"{table(header, rows)}\n\nTime and bytes over those of a float32 layer: less is faster, "
        f"smaller. Processor time on one thread, medians of {s['repetitions']}, in turns. "
        f"{machine(record['machine'])}"
    )


def fp8_compiled() -> str:
    """What the compiled kernel needs on each device, at its worst over all cases."""
    header = (
        "device",
        "Triton",
        "kernels",
        "registers",
        "spills",
        "FP8 casts",
        "inexact divisions",
    )
    records = [load("fp8-compiled.json"), load("fp8-compiled-triton-3.6.json")]
    return table(header, (line for record in records for line in _compiled_lines(record)))


def _compiled_lines(record: dict[str, Any]) -> Iterator[tuple[str, ...]]:
    for sm in sorted({row["sm"] for row in record["rows"]}):
        mine = [row for row in record["rows"] if row["sm"] == sm]
        yield (
            f"sm_{sm}",
            record["versions"]["triton"],
            str(len(mine)),
            f"at most {max(row['registers'] for row in mine)}",
            str(max(row["spill_instructions"] for row in mine)),
            f"at least {min(row['fp8_casts_sass'] for row in mine)}",
            str(max(row["inexact_divisions"] for row in mine)),
        )
