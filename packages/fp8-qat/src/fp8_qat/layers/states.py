"""The five states of a linear layer, what it owns in each, and the one way between them.

| state | parameters | in the state dict | outside it | besides |
|---|---|---|---|---|
| linear | weight, bias | | | |
| quant | weight, bias | | | what all share, weight_quantizer, enabled |
| frozen | weight, bias | | weight_bytes, weight_scale | what all share, enabled, made_from, seen |
| released | bias | | weight_bytes, weight_scale, like | what all share, enabled |
| fp8 | bias | weight, weight_scale | like | what all share |

All but the first share recipe, where, input_quantizer and weight_sqnr_db. `like` holds no
values: its dtype and device are those of the product. `prepare` leads from the first to one
of the next three and `Handle.undo` back; `convert` leads on to the last, which is final.
"""

from dataclasses import dataclass
from typing import Any, Literal

from torch import nn

from fp8_qat.layers.deployed import Fp8Linear
from fp8_qat.layers.linear import FrozenLinear, QuantLinear, ReleasedLinear

Place = Literal["parameter", "saved", "unsaved", "besides"]


@dataclass(frozen=True, kw_only=True)
class State:
    """What a layer in one state is and owns, each thing by name.

    - `kind`: its class, of which a backend's is a subclass.
    - `saved`, `unsaved`: buffers in the state dict and outside of it.
    - `besides`: quantizers and plain values.
    """

    name: str
    kind: type[nn.Linear]
    parameters: tuple[str, ...]
    saved: tuple[str, ...] = ()
    unsaved: tuple[str, ...] = ()
    besides: tuple[str, ...] = ()

    @property
    def owned(self) -> dict[str, Place]:
        """Give everything the state owns, with where a layer keeps it, in order."""
        return {
            **dict.fromkeys(self.parameters, "parameter"),
            **dict.fromkeys(self.saved, "saved"),
            **dict.fromkeys(self.unsaved, "unsaved"),
            **dict.fromkeys(self.besides, "besides"),
        }


_SHARED = ("recipe", "where", "input_quantizer", "weight_sqnr_db")

LINEAR = State(name="linear", kind=nn.Linear, parameters=("weight", "bias"))
QUANT = State(
    name="quant",
    kind=QuantLinear,
    parameters=("weight", "bias"),
    besides=(*_SHARED, "weight_quantizer", "enabled"),
)
FROZEN = State(
    name="frozen",
    kind=FrozenLinear,
    parameters=("weight", "bias"),
    unsaved=("weight_bytes", "weight_scale"),
    besides=(*_SHARED, "enabled", "made_from", "seen"),
)
RELEASED = State(
    name="released",
    kind=ReleasedLinear,
    parameters=("bias",),
    unsaved=("weight_bytes", "weight_scale", "like"),
    besides=(*_SHARED, "enabled"),
)
FP8 = State(
    name="fp8",
    kind=Fp8Linear,
    parameters=("bias",),
    saved=("weight", "weight_scale"),
    unsaved=("like",),
    besides=_SHARED,
)
STATES = (LINEAR, QUANT, FROZEN, RELEASED, FP8)


def state_of(layer: nn.Linear) -> State:
    """Tell which state a layer is in.

    Raises ValueError for a subclass that none of the states describes, and where a hook makes
    what should be a parameter, as it would go on doing in the next state.
    """
    for state in STATES:
        if type(layer) is state.kind or (state is FP8 and isinstance(layer, Fp8Linear)):
            _check_parameters(layer, state)
            return state
    raise ValueError(
        f"layer={type(layer).__name__}; it must be an nn.Linear in one of the states "
        f"{', '.join(state.name for state in STATES)}: merge or remove what changed its class, "
        "such as a parametrization"
    )


def _check_parameters(layer: nn.Linear, state: State) -> None:
    lacking = [name for name in state.parameters if name not in layer._parameters]
    if lacking:
        where = getattr(layer, "where", "layer")
        raise ValueError(
            f"{lacking[0]} of {where}: hooks={len(layer._forward_pre_hooks)}; it must be a "
            "parameter, and a hook makes it, as of pruning or a weight norm: make it permanent or "
            "remove it (torch.nn.utils.prune.remove, remove_weight_norm)"
        )


def become(
    layer: nn.Linear, state: State, *, kind: type[nn.Linear] | None = None, **given: Any
) -> None:
    """Turn a layer into another state, in place; hooks, names and shared parameters stay.

    - `kind`: a backend's class in place of the state's own.
    - `given`: by name what the new state owns. What the layer keeps in the same place
      already may be left out, and goes on unchanged; what only the old state owns goes.

    Raises ValueError, before anything changes, for names that the state does not own or
    that are missing, and as `state_of` does.
    """
    if state_of(layer) is FP8:
        raise ValueError(
            f"state={state.name!r}; a deployed layer stays deployed: copy the model before convert"
        )
    before, after = state_of(layer).owned, state.owned
    kept = {name for name, place in after.items() if before.get(name) == place}
    missing, unknown = after.keys() - kept - given.keys(), given.keys() - after.keys()
    if missing or unknown:
        raise ValueError(
            f"given={sorted(given)}; state {state.name!r} also needs {sorted(missing)} and does "
            f"not own {sorted(unknown)}: give what the table of states names"
        )
    values = {name: given[name] if name in given else getattr(layer, name) for name in after}
    for name in before:
        delattr(layer, name)
    layer.__class__ = kind or state.kind
    for name, place in after.items():
        _put(layer, name, values[name], place)


def _put(layer: nn.Linear, name: str, value: Any, place: Place) -> None:
    if place == "parameter":
        layer.register_parameter(name, value)
    elif place == "besides":
        setattr(layer, name, value)
    else:
        layer.register_buffer(name, value, persistent=place == "saved")
