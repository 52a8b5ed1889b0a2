"""Parameters of any module kept as FP8 and multiplied back at every use.

Convolutions, embeddings and layers that seldom run are no products worth quantizing, but they
take memory. A module with such parameters becomes, in place, a subclass of its own class in
which they are properties, so its forward stays what it was.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from functools import cache
from typing import Any, cast

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from fp8_qat.layers.linear import QuantizedLinear
from fp8_qat.numerics.fake import fake_quantize
from fp8_qat.numerics.quantize import HIGH_PRECISION, QuantizedTensor, dequantize, quantize
from fp8_qat.numerics.spec import Spec
from fp8_qat.report import StoredParameter, sqnr

CODES, SCALE, LIKE = "_codes", "_scale", "_like"  # after a parameter's name: what is held of it


class Stored(nn.Module):
    """What modules with stored parameters have in common.

    - `stored`: the spec of each stored parameter by its name in this module. One that trains is
      still a parameter, rounded anew at every use; of any other the buffers `NAME_codes` and
      `NAME_scale` are held, which casting the model does not cast.
    """

    stored: Mapping[str, Spec]
    plain: type[nn.Module]

    def decoded(self, name: str) -> Float[Tensor, "..."]:
        """Give the values that a stored parameter is used with."""
        spec, held = self.stored[name], self._parameters.get(name)
        if held is not None:
            return fake_quantize(_rows(held), spec).reshape(held.shape)
        values = dequantize(self.codes(name), self.get_buffer(name + LIKE).dtype)
        return values.reshape(self.get_buffer(name + CODES).shape)

    def codes(self, name: str) -> QuantizedTensor:
        """Give the codes and scales of a parameter that does not train, as a matrix of rows."""
        codes = self.get_buffer(name + CODES)
        rows = _rows(codes.view(torch.uint8)).view(codes.dtype)
        return QuantizedTensor(
            codes=rows, scale=self.get_buffer(name + SCALE), spec=self.stored[name]
        )

    def __reduce__(self) -> tuple[Any, ...]:
        # The class is made here and found under no name: it is made anew where it is read.
        state = self.__getstate__()  # type: ignore[no-untyped-call]
        return _instance, (self.plain, tuple(sorted(self.stored))), state

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "Stored":
        names = [name + held for name in self.stored for held in (CODES, SCALE)]
        before = {n: b for n in names if (b := self._buffers.get(n)) is not None}
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        for name, old in before.items():
            new = self.get_buffer(name)
            if new.dtype != old.dtype:
                setattr(self, name, old.to(new.device))
        return self


@torch.inference_mode(False)  # else nothing could be loaded into what is made here
def store(
    model: nn.Module, names: str | Sequence[str], *, spec: Spec | None = None
) -> tuple[StoredParameter, ...]:
    """Keep chosen parameters of a model as FP8, in place, and say what each lost.

    A parameter that needs no gradient gives its values up for one byte each, with one scale a
    row, that is for each index of its first axis; one that trains is rounded at every use, with
    a straight-through gradient, until `settle`, which `convert` calls.

    - `names`: glob patterns on the qualified names of parameters ("head.*.weight"). Parameters
      of a single axis (norms, biases) are too small to gain, and are left out.
    - `spec`: how they are rounded; rows of E4M3 unless given.

    Raises ValueError, before anything changes, for a pattern that matches no such parameter,
    and for one that is stored already, is of a prepared layer, a recurrent one of PyTorch or, while
    it trains, an embedding with `sparse` or `max_norm`, has rows without a value, or has another
    dtype than float32, bfloat16 or float16.
    """
    patterns = (names,) if isinstance(names, str) else tuple(names)
    chosen = list(_matching(model, patterns))
    found: dict[int, QuantizedTensor] = {}  # of tied parameters, once
    rounding = (spec or Spec()).once()
    return tuple(_store(module, name, full, rounding, found) for full, module, name in chosen)


def settle(model: nn.Module) -> tuple[StoredParameter, ...]:
    """Keep what was trained while stored as codes as well, and name all that is stored."""
    known: dict[int, QuantizedTensor] = {}
    done = []
    for full, module, name in stored_parameters(model):
        held = module._parameters.get(name)
        if held is not None:
            done.append(_give_up(module, name, full, held.detach(), known))
        else:
            done.append(_told(module, name, full, float("nan")))
    return tuple(done)


def unstore(model: nn.Module) -> None:
    """Give every stored parameter back as a plain one that does not train, with its values."""
    for module in model.modules():
        if not isinstance(module, Stored):
            continue
        values = {name: module.decoded(name).detach().clone() for name in module.stored}
        for name in values:
            module._parameters.pop(name, None)
            for held in (CODES, SCALE, LIKE):
                if name + held in module._buffers:
                    delattr(module, name + held)
        del module.__dict__["stored"]
        cast(nn.Module, module).__class__ = module.plain
        for name, value in values.items():
            module.register_parameter(name, nn.Parameter(value, requires_grad=False))


def stored_parameters(model: nn.Module) -> Iterator[tuple[str, Stored, str]]:
    """Give the qualified name, module and own name of every stored parameter."""
    for prefix, module in model.named_modules(remove_duplicate=False):
        if isinstance(module, Stored):
            for name in module.stored:
                yield f"{prefix}.{name}" if prefix else name, module, name


def put(module: nn.Module, name: str, quantized: QuantizedTensor, like: Tensor) -> None:
    """Keep codes and scales in place of a parameter.

    - `quantized`: of the parameter as a matrix of rows; `like`: the parameter.
    """
    shape, dtype = like.shape, like.dtype
    del module._parameters[name]
    codes = quantized.bytes.reshape(shape).view(quantized.codes.dtype)
    module.register_buffer(name + CODES, codes)
    module.register_buffer(name + SCALE, quantized.scale)
    module.register_buffer(
        name + LIKE, torch.empty(0, dtype=dtype, device=like.device), persistent=False
    )
    _mark(module, name, quantized.spec)


def _store(
    module: nn.Module, name: str, full: str, spec: Spec, known: dict[int, QuantizedTensor]
) -> StoredParameter:
    held = module._parameters[name]
    assert held is not None
    _mark(module, name, spec)
    assert isinstance(module, Stored)
    if held.requires_grad:
        quality = sqnr(held, module.decoded(name))
        size = held.numel() * held.element_size()
        return StoredParameter(
            name=full, shape=tuple(held.shape), sqnr_db=quality, bytes_before=size, bytes_after=size
        )
    return _give_up(module, name, full, held, known)


def _give_up(
    module: Stored, name: str, full: str, held: Tensor, known: dict[int, QuantizedTensor]
) -> StoredParameter:
    key = held.data_ptr()
    if key not in known:
        known[key] = quantize(_rows(held.detach()), module.stored[name])
    put(module, name, known[key], held)
    return _told(module, name, full, sqnr(held, module.decoded(name)))


def _told(module: Stored, name: str, full: str, quality: float) -> StoredParameter:
    codes, scale = module.get_buffer(name + CODES), module.get_buffer(name + SCALE)
    itemsize = module.get_buffer(name + LIKE).element_size()
    return StoredParameter(
        name=full,
        shape=tuple(codes.shape),
        sqnr_db=quality,
        bytes_before=codes.numel() * itemsize,
        bytes_after=codes.numel() + scale.numel() * scale.element_size(),
    )


def _mark(module: nn.Module, name: str, spec: Spec) -> None:
    """Let a module's class say that one more of its parameters is stored."""
    plain = module.plain if isinstance(module, Stored) else type(module)
    stored = dict(getattr(module, "stored", {})) | {name: spec}
    module.__class__ = _kind(cast(Any, plain), tuple(sorted(stored)))
    cast(Stored, module).stored = stored


@cache
def _kind(plain: type[nn.Module], names: tuple[str, ...]) -> type[nn.Module]:
    members: dict[str, Any] = {name: _decoding(name) for name in names}
    return type(f"Stored{plain.__name__}", (Stored, plain), {**members, "plain": plain})


def _instance(plain: type[nn.Module], names: tuple[str, ...]) -> nn.Module:
    kind = _kind(cast(Any, plain), names)
    return kind.__new__(kind)


def _decoding(name: str) -> property:
    return property(lambda module: module.decoded(name))


def _matching(model: nn.Module, patterns: Sequence[str]) -> Iterator[tuple[str, nn.Module, str]]:
    names = [
        (f"{prefix}.{name}" if prefix else name, module, name, held)
        for prefix, module in model.named_modules()
        for name, held in module._parameters.items()
        if held is not None and held.ndim > 1
    ]
    for pattern in patterns:
        if not any(fnmatchcase(full, pattern) for full, *_ in names):
            known = ", ".join(full for full, *_ in names[:8]) or "none"
            raise ValueError(
                f"names={pattern!r}; it must match a parameter of two axes or more that is not "
                f"stored: the model has {known}"
            )
    for full, module, name, held in names:
        if any(fnmatchcase(full, pattern) for pattern in patterns):
            _check(full, module, name, held)
            yield full, module, name


def _check(full: str, module: nn.Module, name: str, held: Tensor) -> None:
    if isinstance(module, Stored) and name in module.stored:
        raise ValueError(f"names={full!r}; it is stored already: name each parameter once")
    if isinstance(module, QuantizedLinear):
        raise ValueError(
            f"names={full!r}; it must not be of a layer that was prepared, which quantizes it: "
            "leave it out"
        )
    if isinstance(module, nn.RNNBase):
        raise ValueError(
            f"names={full!r}; it must not be of {type(module).__name__}, which computes with a "
            "list of its parameters and would go on with the original: leave it out"
        )
    if isinstance(module, nn.Embedding) and held.requires_grad:
        options = {"sparse": module.sparse, "max_norm": module.max_norm is not None}
        for option in (option for option, on in options.items() if on):
            raise ValueError(
                f"names={full!r}; while it trains it must not be of an embedding with {option}=, "
                "whose gradient or norm passes no rounding: leave it out, or freeze it first"
            )
    if held.dtype not in HIGH_PRECISION or 0 in held.shape[1:]:
        raise ValueError(
            f"{full}: dtype={held.dtype} of shape {tuple(held.shape)}; it must be float32, "
            "bfloat16 or float16 and hold a value in each row: leave it out"
        )


def _rows(x: Tensor) -> Tensor:
    """A parameter as a matrix: its first axis against all others."""
    return rearrange(x, "n ... -> n (...)")
