"""What the Hugging Face Hub reads at the top of a model card: facts, and measured numbers."""

from collections.abc import Sequence
from importlib import import_module
from typing import Any

from recon_eval.pages.columns import Column, Row

LICENSES = {"Apache-2.0": "apache-2.0", "CC BY-NC 4.0": "cc-by-nc-4.0"}  # as the Hub names them
TASK = "depth-estimation"


def card_head(
    columns: Sequence[Column],
    row: Row | None,
    *,
    name: str,
    data: str,
    license: str,
    base_model: str | None,
    library: str,
    tags: Sequence[str],
) -> str:
    """The metadata of a card, in YAML between its rules.

    - `row`: what was measured of the model `name`, on `data`; None where nothing was.
    - `license`: of the weights; one that the Hub has no name for is told as other.
    - `base_model`: repository of the weights that these were made from.

    Raises ValueError where huggingface-hub is not installed.
    """
    hub = hub_library()
    results = [
        hub.EvalResult(
            task_type=TASK,
            dataset_type="unseen-scenes",
            dataset_name=data,
            metric_type=column.key,
            metric_name=column.title,
            metric_value=round(value, 4),
        )
        for column in columns
        if row is not None and isinstance(value := row.get(column.key), int | float)
    ]
    known = LICENSES.get(license)
    head = hub.ModelCardData(
        license=known or "other",
        license_name=None if known else license,
        library_name=library,
        pipeline_tag=TASK,
        base_model=base_model,
        tags=list(tags),
        model_name=name,
        eval_results=results or None,
    )
    return f"---\n{head.to_yaml()}\n---\n"


def hub_library() -> Any:
    """What writes the metadata. Raises ValueError where it is not installed."""
    try:
        return import_module("huggingface_hub")
    except ImportError as error:
        raise ValueError(
            "huggingface_hub is not installed; a model card needs it: python -m pip install "
            "huggingface-hub"
        ) from error
