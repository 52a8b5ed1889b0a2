"""The namespace under which PyTorch knows this package's operators, and how they enter it.

An operator is declared once, by the signature of the function that runs it. A parameter whose type
is a `NamedTuple` stands for its fields, so that what many operators take is listed in one place:
callers unpack the record (`*lists`), the function gets it whole.
"""

import functools
import inspect
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import nullcontext
from contextvars import ContextVar
from types import NoneType, UnionType
from typing import Any, get_args, get_type_hints

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from sla_kernels.runtime.dry import dry_run

LIBRARY = torch.library.Library("sla_kernels", "FRAGMENT")
_NOTHING = nullcontext()
_WRITING: ContextVar[bool] = ContextVar("writing", default=False)
_BODIES: dict[str, Callable[..., Any]] = {}
_TYPES: dict[Any, str] = {
    Tensor: "Tensor",
    int: "SymInt",
    float: "float",
    bool: "bool",
    str: "str",
    tuple[int, ...]: "SymInt[]",
}


def register(run: Callable[..., Any], fake: Callable[..., Any]) -> None:
    """Add an operator, named and declared as `run`, which runs on every device.

    `fake` makes results of the same shapes, from those arguments of `run` that it names. The
    operator runs on the device of its tensors and keeps its own precision under autocast.
    """
    name = run.__name__
    _BODIES[name] = _of_records(run, run)
    LIBRARY.define(f"{name}{schema_of(run)}")
    LIBRARY.impl(name, _guarded(_of_records(run, run)), "CompositeExplicitAutograd")
    torch.library.register_fake(f"sla_kernels::{name}", _of_records(run, fake), lib=LIBRARY)


def bodies() -> dict[Any, Callable[..., Any]]:
    """What each operator does, in PyTorch's operations, by its overload.

    On tensors of the meta device a body makes every tensor that the operator makes on a GPU, its
    own among them, and launches nothing: a prediction of memory counts them.
    """
    ops = torch.ops.sla_kernels
    return {getattr(ops, name).default: _dry(body) for name, body in _BODIES.items()}


def _dry(body: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(body)
    def run(*args: Any) -> Any:
        with dry_run():
            return body(*args)

    return run


class written_out(TorchFunctionMode):
    """A context in which this package's operators are calls of PyTorch's own operators alone.

    with written_out():
        torch.export.export(model, (images,), strict=False)

    For exporters that know no others. Modules must run with backend="reference" and choose blocks
    in sequence, in steps that depend on no values; the graph then holds scores of all queries and
    keys at once. An order by content and summaries are found in steps that do: ValueError, unless
    every key is attended.
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        packet = getattr(func, "overloadpacket", func)
        space, _, name = str(getattr(packet, "_qualified_op_name", "")).partition("::")
        if space != LIBRARY.ns:
            return func(*args, **(kwargs or {}))
        before = _WRITING.set(True)
        try:
            with self:  # what it calls is written out as well
                return _BODIES[name](*args)
        finally:
            _WRITING.reset(before)


def is_writing_out() -> bool:
    """Whether the operator that runs now is written out."""
    return _WRITING.get()


def register_gradient(
    run: Callable[..., Any],
    backward: Callable[..., Any],
    *,
    outputs: Sequence[str],
    wrt: Sequence[str],
    drop: Callable[[dict[str, Any]], Collection[str]] = lambda given: (),
) -> None:
    """Make the operator of `run` differentiable in its arguments `wrt`, by that of `backward`.

    The backward operator takes "grad", the gradient of the first output, and any inputs and
    outputs of the forward operator, by their names; it returns the gradients of `wrt`, in order,
    which have no derivatives themselves. Outputs after the first are not differentiable. `drop`
    says, from the inputs, which tensors are not kept: the backward operator gets None for them.
    """
    takes, needs = _names(run), _names(backward)[1:]
    pull_back = getattr(torch.ops.sla_kernels, backward.__name__)

    def save(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        made = output if isinstance(output, tuple) else (output,)
        given = dict(zip(takes, inputs, strict=True))
        found = {**given, **dict(zip(outputs, made, strict=True))}
        dropped = drop(given)
        kept = [None if name in dropped else found[name] for name in needs]
        ctx.is_tensor = [isinstance(x, Tensor) for x in kept]
        ctx.plain = [None if isinstance(x, Tensor) else x for x in kept]
        ctx.dtypes = [None if given[name] is None else given[name].dtype for name in wrt]
        ctx.set_materialize_grads(False)
        ctx.mark_non_differentiable(*made[1:])
        ctx.save_for_backward(*(x for x in kept if isinstance(x, Tensor)))

    def differentiate(ctx: Any, grad: Tensor | None, *_: Tensor | None) -> tuple[Any, ...]:
        if grad is None:
            return (None,) * len(takes)
        saved = iter(ctx.saved_tensors)  # checkpointing lets them be read once
        kept = [
            next(saved) if tensor else x for tensor, x in zip(ctx.is_tensor, ctx.plain, strict=True)
        ]
        found = {
            name: None if dtype is None else x.to(dtype)
            for name, x, dtype in zip(wrt, pull_back(grad, *kept), ctx.dtypes, strict=True)
        }
        return tuple(found.get(name) for name in takes)

    torch.library.register_autograd(
        f"sla_kernels::{run.__name__}", differentiate, setup_context=save, lib=LIBRARY
    )
    torch.library.register_autograd(f"sla_kernels::{backward.__name__}", _refuse, lib=LIBRARY)


def _refuse(*_: Any) -> None:
    raise ValueError(
        "second derivative of attention; over blocks backend 'reference' has it, and nothing "
        "else: pass that, or take first derivatives"
    )


def schema_of(run: Callable[..., Any]) -> str:
    """The arguments and results of an operator, in PyTorch's notation."""
    arguments = ", ".join(f"{_type_name(kind)} {name}" for name, kind in _flat(run))
    made = get_type_hints(run)["return"]
    results = get_args(made)
    if not results:
        return f"({arguments}) -> {_type_name(made)}"
    return f"({arguments}) -> ({', '.join(map(_type_name, results))})"


def gathered(run: Callable[..., Any], args: Sequence[Any]) -> dict[str, Any]:
    """The parameters of `run` by name, given an operator's flat arguments."""
    given, at = {}, 0
    for name, kind in _parameters(run):
        width = len(kind._fields) if _is_record(kind) else 1
        if _is_record(kind):
            given[name] = kind(*args[at : at + width])
        else:  # operators hand lists over for tuples
            given[name] = tuple(args[at]) if kind == tuple[int, ...] else args[at]
        at += width
    return given


def _of_records(run: Callable[..., Any], call: Callable[..., Any]) -> Callable[..., Any]:
    """Take flat arguments of `run` and call with those that `call` names."""
    named = [name for name, _ in _parameters(call)]

    def wrapped(*args: Any) -> Any:
        given = gathered(run, args)
        return call(*(given[name] for name in named))

    return wrapped


@functools.cache
def _parameters(run: Callable[..., Any]) -> list[tuple[str, Any]]:
    """The positional parameters with their types; keywords are for callers inside the package."""
    kinds = get_type_hints(run)
    return [
        (name, kinds[name])
        for name, parameter in inspect.signature(run).parameters.items()
        if parameter.kind is not parameter.KEYWORD_ONLY
    ]


def _flat(run: Callable[..., Any]) -> list[tuple[str, Any]]:
    """The parameters, each record replaced by its fields."""
    return [
        item
        for name, kind in _parameters(run)
        for item in (get_type_hints(kind).items() if _is_record(kind) else [(name, kind)])
    ]


def _names(run: Callable[..., Any]) -> list[str]:
    return [name for name, _ in _flat(run)]


def _is_record(kind: Any) -> bool:
    return hasattr(kind, "_fields")


def _type_name(kind: Any) -> str:
    if isinstance(kind, UnionType):
        (only,) = (x for x in get_args(kind) if x is not NoneType)
        return f"{_TYPES[only]}?"
    return _TYPES[kind]


def _guarded(run: Callable[..., Any]) -> Callable[..., Any]:
    """Run on the device of the first tensor, and in the operator's own precision.

    Triton and PyTorch's allocator work on the current device, which need not be that of the
    tensors; autocast ends at an operator's border.
    """

    @functools.wraps(run)
    def wrapped(*args: Any) -> Any:
        first = next(x for x in args if isinstance(x, Tensor))
        kind = first.device.type
        plain = torch.autocast(kind, enabled=False) if torch.is_autocast_enabled(kind) else _NOTHING
        with torch.cuda.device_of(first), plain:
            return run(*args)

    return wrapped
