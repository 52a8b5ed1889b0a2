"""What is predicted for GPUs that are not here."""

from .layout import load, table

SHOWN = (
    "dense bfloat16, compiled",
    "ours, compiled",
    "ours, captured, rows from a cache",
    "ours + FP8, compiled",
    "ours + FP8, captured, rows from a cache",
)


def memory_plans() -> str:
    """Large scenes in the memory of one GPU."""
    record = load("memory-plans.json")
    header = ("backbone", "views", "budget", "predicted peak", "plan")
    rows = [
        (
            row["backbone"],
            str(row["views"]),
            row["budget"],
            f"{row['plan']['needs'] / 1e9:.1f} GB",
            row["in_words"],
        )
        for row in record["plans"]
    ]
    side = record["plans"][0]["side"]
    return (
        f"{table(header, rows)}\n\nSquare photos of {side} pixels. Predicted, not measured: "
        f"tensors counted without data, torch {record['torch']}; beside them "
        f"{record['margin']['source']}."
    )


def predicted_models() -> str:
    """Whole backbones on one GPU, as times faster than the fastest dense bfloat16."""
    record = load("models-predicted.json")
    header = ("backbone", "views", "goal", *SHOWN)
    rows = [
        (
            model["backbone"],
            str(model["views"]),
            f"{model['target']:g}x",
            *(
                f"{row['predicted_ms']:,.0f} ms, {row['times_faster_than_dense']:.1f}x"
                for row in (model["rows"][name] for name in SHOWN)
            ),
        )
        for model in record["models"]
    ]
    return (
        f"{table(header, rows)}\n\n{record['device']['name']}, square photos of 518 pixels, "
        f"recipe {record['models'][0]['recipe']}. Predicted, not measured: "
        "`nox -s gpu -- --only da3-large vggt-1b` measures it up to 300 views."
    )
