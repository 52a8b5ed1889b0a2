"""Which layers of a model are quantized, and why the others are not."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from torch import nn

from fp8_qat.layers.deployed import Fp8Linear
from fp8_qat.layers.inputs import named
from fp8_qat.layers.linear import PREPARED

Predicate = Callable[[str, nn.Linear], bool]
Choice = str | Sequence[str] | Predicate | None

# These read the weights of the layers inside them instead of calling the layers, so a
# quantized layer there would be passed by without a word.
_READ_WEIGHTS = (
    nn.MultiheadAttention,
    nn.TransformerEncoderLayer,
    nn.TransformerDecoderLayer,
)


@dataclass(frozen=True, kw_only=True)
class Skipped:
    """One layer that stays as it is: its qualified name, its kind, and the reason."""

    name: str
    kind: str
    reason: str


def select_layers(
    model: nn.Module, include: Choice, exclude: Choice
) -> tuple[dict[str, nn.Linear], list[Skipped]]:
    """Split a model's layers with weight matrices into those to quantize and the others.

    - `include`, `exclude`: a glob pattern on qualified names ("blocks.*.qkv"), several of them,
    or a predicate of name and layer; None includes all and excludes none.
    Raises ValueError for a pattern that matches no linear layer, for an empty choice, and
    for a model that is already prepared.
    """
    names = [name for name, m in model.named_modules() if isinstance(m, nn.Linear)]
    wanted, unwanted = _chooser("include", include, names), _chooser("exclude", exclude, names)
    chosen: dict[str, nn.Linear] = {}
    skipped: list[Skipped] = []
    for name, module in model.named_modules():
        reason = _reason(model, name, module)
        if reason is None and isinstance(module, nn.Linear):
            if include is not None and not wanted(name, module):
                reason = "not named by include"
            elif exclude is not None and unwanted(name, module):
                reason = "named by exclude"
            else:
                chosen[name] = module
        if reason:
            skipped.append(Skipped(name=name, kind=type(module).__name__, reason=reason))
    if not chosen:
        found = "; ".join(f"{s.name} ({s.reason})" for s in skipped) or "no nn.Linear at all"
        raise ValueError(
            f"chosen layers=0; at least one must be left to quantize, and the model has {found}: "
            "change include and exclude"
        )
    return chosen, skipped


def _reason(model: nn.Module, name: str, module: nn.Module) -> str | None:
    """Why a module cannot be quantized; "" for one that has no weight matrix of its own."""
    kind = type(module).__name__
    if isinstance(module, PREPARED):
        raise ValueError(
            f"{named(name)}: kind={kind}; it must be a plain nn.Linear, and is already prepared: "
            "undo() its handle first"
        )
    if isinstance(module, Fp8Linear):
        raise ValueError(
            f"{named(name)}: kind={kind}; it must be a plain nn.Linear, and is already deployed: "
            "prepare a plain model"
        )
    reader = _reader(model, name)
    if isinstance(module, nn.Linear):
        if reader is not None:
            return f"{reader} reads its weight directly"
        if type(module) is not nn.Linear:
            return "a subclass of nn.Linear, which may compute something else"
        if not {"weight", "bias"} <= module._parameters.keys():
            return "its weight or bias is no parameter, as a hook makes it"
        if "forward" in vars(module):
            return "its forward was replaced, and would pass the quantized one by"
        return None
    matrices = [key for key, p in module.named_parameters(recurse=False) if p.ndim >= 2]
    return f"not an nn.Linear (holds {', '.join(matrices)})" if matrices else ""


def _reader(model: nn.Module, name: str) -> str | None:
    """The enclosing module that reads weights past the layers' forward, if there is one."""
    path = name.split(".")
    for depth in range(len(path)):
        parent = model.get_submodule(".".join(path[:depth]))
        if isinstance(parent, _READ_WEIGHTS):
            return f"{type(parent).__name__} {'.'.join(path[:depth]) or '(the model)'}"
    return None


def _chooser(role: str, choice: Choice, names: Sequence[str]) -> Predicate:
    if choice is None:
        return lambda name, layer: False
    if callable(choice):
        return choice
    patterns = (choice,) if isinstance(choice, str) else tuple(choice)
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in names):
            known = ", ".join(names[:8]) + (", ..." if len(names) > 8 else "")
            raise ValueError(
                f"{role}={pattern!r}; it must match a linear layer: the model has {known}"
            )
    return lambda name, layer: any(fnmatchcase(name, pattern) for pattern in patterns)
