"""Reading checkpoints strictly: safetensors by memory map, pickles only without code."""

import pickle
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

_DIRECTORY_FILES = ("model.safetensors", "model.pt")


def find_checkpoint(path: Path) -> Path:
    """Resolve a file, or a directory that holds `model.safetensors` or `model.pt`."""
    if path.is_dir():
        for name in _DIRECTORY_FILES:
            if (path / name).is_file():
                return path / name
        raise ValueError(
            f"{path} holds neither {' nor '.join(_DIRECTORY_FILES)}; a folder of weights "
            "has one: name a file in it"
        )
    if not path.is_file():
        raise ValueError(
            f"checkpoint {path} does not exist; it must be a file: give a .safetensors or .pt file"
        )
    return path


def read_state(path: Path) -> dict[str, Tensor]:
    """Read tensors by name from a .safetensors file (memory-mapped) or a .pt/.pth/.bin file.

    Raises ValueError if the file is damaged, of another kind, or pickles anything but tensors.
    """
    if not path.is_file():
        raise ValueError(
            f"checkpoint {path} does not exist or is no file; it must be one: give another"
        )
    if path.suffix == ".safetensors":
        try:
            return load_file(path)
        except (SafetensorError, OSError) as error:
            raise ValueError(
                f"{path} is no whole safetensors file; {error}: get it anew"
            ) from error
    if path.suffix not in (".pt", ".pth", ".bin"):
        raise ValueError(f"{path} has suffix {path.suffix!r}; known: .safetensors, .pt, .pth, .bin")
    try:
        loaded = torch.load(str(path), map_location="cpu", weights_only=True, mmap=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, OSError, ValueError) as error:
        raise ValueError(
            f"{path} cannot be read as tensors only; code in pickles is never run: save it as "
            f".safetensors ({error})"
        ) from error
    for wrapper in ("state_dict", "model"):
        if isinstance(loaded, dict) and isinstance(loaded.get(wrapper), dict):
            loaded = loaded[wrapper]
    if not isinstance(loaded, dict) or not all(
        isinstance(name, str) and isinstance(value, Tensor) for name, value in loaded.items()
    ):
        raise ValueError(
            f"{path} holds no dictionary of tensors; it must be a state dict: export that alone"
        )
    return loaded


def fit(module: nn.Module, state: Mapping[str, Tensor], *, source: str) -> None:
    """Put a whole state into a module; tensors are taken as they are, not copied.

    Raises ValueError naming the first missing and unexpected names, differing shapes, and tensors
    of another kind than weights are.
    """
    own = module.state_dict()
    expected = {name: tuple(tensor.shape) for name, tensor in own.items()}
    missing = [name for name in expected if name not in state]
    extra = [name for name in state if name not in expected]
    shapes = [
        f"{name}: {tuple(state[name].shape)} instead of {shape}"
        for name, shape in expected.items()
        if name in state and tuple(state[name].shape) != shape
    ]
    kinds = [
        f"{name}: {state[name].dtype}"
        for name, tensor in own.items()
        if name in state and tensor.is_floating_point() and not _is_weight(state[name])
    ]
    problems = [
        f"{len(names)} {kind}, first {', '.join(names[:3])}"
        for kind, names in (
            ("missing", missing),
            ("unexpected", extra),
            ("of another shape", shapes),
            ("not dense floating point", kinds),
        )
        if names
    ]
    if problems:
        raise ValueError(
            f"{source} does not fit {type(module).__name__}; {', '.join(problems)}: load "
            "it under the name of the backbone that it was made for"
        )
    module.load_state_dict(dict(state), assign=True)


def _is_weight(tensor: Tensor) -> bool:
    """Whether a tensor holds floating-point numbers, each in its place."""
    dense = tensor.layout == torch.strided and not tensor.is_meta
    return dense and tensor.is_floating_point()
