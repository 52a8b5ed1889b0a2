"""What trained, alone in one file: written whole, read strictly."""

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from torch import Tensor

from distill.record.checks import check_kind
from distill.resume.files import read_tensors, replace_tensors


def save_adapter(
    path: str | Path, trained: Mapping[str, Tensor], metadata: dict[str, str] | None = None
) -> None:
    """Write tensors by name, of any number type; the file is whole or not there.

    Raises TypeError for what is no tensor, ValueError for one that holds no values.
    """
    for name, value in trained.items():
        if check_kind(name, value).is_meta:
            raise ValueError(
                f"{name}=tensor on meta; it must hold values: save what trained on a device"
            )
    values = {name: p.detach().cpu().contiguous() for name, p in trained.items()}
    replace_tensors(Path(path), values, metadata or {})


def load_adapter(path: str | Path, into: Mapping[str, Tensor]) -> None:
    """Put the values of a file into tensors of the same names, in place.

    Raises ValueError when the file is missing, damaged, or holds other names or shapes, and for a
    tensor that holds no values.
    """
    path = Path(path)
    if hollow := sorted(name for name, tensor in into.items() if tensor.is_meta):
        raise ValueError(
            f"{hollow[0]}=tensor on meta; it takes no values: bring the model to a device first, "
            "with model.to_empty(device=...)"
        )
    if not path.is_file():
        raise ValueError(f"{path} does not exist; it must hold what trained: write it again")
    try:
        values = read_tensors(path)
    except SafetensorError as error:
        raise ValueError(
            f"{path} is damaged ({error}); it must be whole: copy or distill it again"
        ) from error
    wrong = [n for n in into.keys() & values.keys() if into[n].shape != values[n].shape]
    missing, unknown = sorted(into.keys() - values.keys()), sorted(values.keys() - into.keys())
    if missing or unknown or wrong:
        raise ValueError(
            f"{path} is an adapter of another model; names and shapes must be the same: "
            f"{_some('missing', missing)}, {_some('unknown', unknown)}, "
            f"{_some('of another shape', sorted(wrong))}"
        )
    with torch.no_grad():
        for name, value in values.items():
            into[name].copy_(value)


def _some(what: str, names: list[str]) -> str:
    if not names:
        return f"none {what}"
    return f"{len(names)} {what} ({', '.join(names[:3])}{', ...' if len(names) > 3 else ''})"
