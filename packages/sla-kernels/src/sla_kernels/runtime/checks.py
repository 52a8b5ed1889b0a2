"""Arguments that cannot work, refused with their name, value, rule and a way out."""

import torch
from torch import Tensor
from torch.autograd.forward_ad import unpack_dual

DTYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


def check_tensor(name: str, x: object) -> None:
    """Refuse what is no tensor, and tensors of sequences of several lengths or of few numbers."""
    if not isinstance(x, Tensor):
        raise TypeError(
            f"{name}={type(x).__name__}; it must be a torch.Tensor: pass torch.as_tensor({name})"
        )
    if x.is_nested or x.layout != torch.strided:
        kind = "nested" if x.is_nested else str(x.layout)
        raise ValueError(
            f"{name} is a tensor of layout {kind}; it must hold every number of every axis: pass "
            "x.to_dense(), or call for each sequence of a nested one"
        )


def check_type(name: str, x: Tensor) -> None:
    """Refuse a type that attention is not computed in."""
    if x.dtype not in DTYPES:
        raise ValueError(
            f"{name} has dtype {x.dtype}; it must be one of {', '.join(map(str, DTYPES))}: "
            "convert it before the call"
        )


def check_like(name: str, x: object, like: Tensor, shape: tuple[int, ...]) -> None:
    """Refuse what is no tensor of this shape on the device of another, of queries."""
    check_tensor(name, x)
    assert isinstance(x, Tensor)
    check_type(name, x)
    if x.shape != shape:
        raise ValueError(
            f"{name} has shape {tuple(x.shape)}; it must be {shape}, as q has {like.shape[1]} "
            f"heads and the head width is {like.shape[3]}: reshape it"
        )
    if x.device != like.device:
        raise ValueError(
            f"{name} is on {x.device} and q on {like.device}; they must agree: pass "
            f"{name}.to(q.device)"
        )


def check_attention_inputs(q: Tensor, k: Tensor, v: Tensor) -> None:
    """Refuse queries, keys and values that do not fit together."""
    for name, x in (("q", q), ("k", k), ("v", v)):
        check_tensor(name, x)
        if x.dim() != 4:
            raise ValueError(
                f"{name} has shape {tuple(x.shape)}; it must be (b, h, tokens, d): reshape it"
            )
        check_type(name, x)
        if x.dtype != q.dtype or x.device != q.device:
            raise ValueError(
                f"{name} is {x.dtype} on {x.device} but q is {q.dtype} on {q.device}; "
                "q, k and v must agree: convert them before the call"
            )
        if 0 in x.shape:
            raise ValueError(
                f"{name} has shape {tuple(x.shape)}; no axis may be empty: leave such calls out"
            )
    check_keys(q, k)
    if k.shape != v.shape:
        raise ValueError(
            f"v has shape {tuple(v.shape)} but k {tuple(k.shape)}; they must be equal: "
            "give each key its value"
        )


def check_keys(q: Tensor, k: Tensor) -> None:
    """Refuse keys whose device, batch, heads or width do not fit the queries."""
    for name, x in (("q", q), ("k", k)):
        check_tensor(name, x)
        if x.dim() != 4 or 0 in x.shape:
            raise ValueError(
                f"{name} has shape {tuple(x.shape)}; it must be (b, h, tokens, d), no axis empty: "
                "reshape it"
            )
        check_type(name, x)
    if q.device != k.device:
        raise ValueError(
            f"k is on {k.device} and q on {q.device}; they must agree: pass k.to(q.device)"
        )
    if q.shape[0] != k.shape[0] or q.shape[3] != k.shape[3]:
        raise ValueError(
            f"k has shape {tuple(k.shape)} but q {tuple(q.shape)}; batch and head width must "
            "agree: take both from the same projection"
        )
    if q.shape[1] % k.shape[1]:
        raise ValueError(
            f"k has {k.shape[1]} heads and q {q.shape[1]}; "
            "those of q must be a multiple of those of k: repeat the heads of k"
        )


def check_no_tangents(*tensors: Tensor | None) -> None:
    """Refuse a forward-mode derivative, which PyTorch drops at operators: it would say zero."""
    if torch.compiler.is_compiling():
        return
    if any(x is not None and unpack_dual(x).tangent is not None for x in tensors):
        raise ValueError(
            "forward-mode derivative of q, k, v, weight or bias; over blocks backend 'reference' "
            "has it, and nothing else: pass that, or take gradients by a backward pass"
        )


def check_projection(
    weight: Tensor | None, bias: Tensor | None, mix: Tensor | None, q: Tensor, *, linear: bool
) -> None:
    """Refuse a projection or a mix of another width, device or of nothing.

    - `linear`: whether there is a linear branch to project.
    """
    width, heads = q.shape[3], q.shape[1]
    if weight is not None and not linear:
        raise ValueError(
            "weight=... with linear=None; it projects the linear branch: pass one or the other"
        )
    if bias is not None and weight is None:
        raise ValueError("bias=... without weight; it belongs to one: pass both or neither")
    shapes = (("weight", weight, (width, width)), ("bias", bias, (width,)), ("mix", mix, (heads,)))
    for name, x, shape in shapes:
        if x is not None:
            check_like(name, x, q, shape)


def check_keep(keep: float | int) -> None:
    """Refuse a keep that is neither a fraction in (0, 1] nor a positive number of blocks."""
    rule = (
        "it must be a fraction in (0, 1] (float) or a number of key blocks of at least 1 (int): "
        "for dense attention pass 1.0"
    )
    if isinstance(keep, bool) or not isinstance(keep, int | float):
        raise ValueError(f"keep={keep!r}; {rule}")
    if isinstance(keep, float) and not 0 < keep <= 1:
        raise ValueError(f"keep={keep!r}; {rule}")
    if isinstance(keep, int) and keep < 1:
        raise ValueError(f"keep={keep!r}; {rule}")


def check_fraction(name: str, value: float, *, low_open: bool) -> None:
    """Refuse a value outside (0, 1] or, with `low_open` false, outside [0, 1)."""
    inside = 0 < value <= 1 if low_open else 0 <= value < 1
    if not inside:
        rule = "(0, 1]" if low_open else "[0, 1)"
        way_out = "1.0" if low_open else "0.0"
        raise ValueError(f"{name}={value!r}; it must lie in {rule}: pass {way_out} to do without")


def check_block(block: tuple[int, int]) -> None:
    """Refuse block sizes that are not powers of two from 16 to 256."""
    check_pair(block)
    for name, size in zip(("query", "key"), block, strict=True):
        if size < 16 or size > 256 or size & (size - 1):
            raise ValueError(
                f"block={block!r}; the {name} block must be a power of two from 16 to 256: "
                "pass (128, 64), say"
            )


def check_pair(block: tuple[int, int]) -> None:
    """Refuse a block that is not two whole numbers."""
    sizes = block if isinstance(block, (tuple, list)) else ()
    if len(sizes) != 2 or not all(isinstance(n, int) and not isinstance(n, bool) for n in sizes):
        raise ValueError(
            f"block={block!r}; it must be two whole numbers, of queries and of keys: "
            "pass (128, 64), say"
        )


def check_choice(name: str, value: str | None, choices: tuple[str | None, ...]) -> None:
    """Refuse a name that is not among the known ones, and list them."""
    if value not in choices:
        known = ", ".join(map(repr, choices))
        raise ValueError(f"{name}={value!r}; it must be known: pass one of {known}")


def check_pinned(pinned: Tensor, num_queries: int, num_keys: int, device: torch.device) -> None:
    """Refuse pinned positions that are no set of tokens of a self-attention.

    The values are read only on the CPU: on an accelerator that would stop the host.
    """
    check_tensor("pinned", pinned)
    if pinned.device != device:
        raise ValueError(
            f"pinned is on {pinned.device} and the tokens on {device}; they must agree: pass "
            f"pinned.to({str(device)!r})"
        )
    if pinned.dim() != 1 or pinned.dtype != torch.int64:
        raise ValueError(
            f"pinned has shape {tuple(pinned.shape)} and dtype {pinned.dtype}; "
            "it must be a 1-D int64 tensor of token positions: convert it"
        )
    if num_queries != num_keys:
        raise ValueError(
            f"pinned=... with {num_queries} queries and {num_keys} keys; it must be a "
            "self-attention: leave pinned out"
        )
    if pinned.shape[0] >= num_keys:
        raise ValueError(
            f"pinned names {pinned.shape[0]} of {num_keys} tokens; it must leave at least one: "
            "for dense attention pass keep=1.0"
        )
    if pinned.device.type == "cpu" and not torch.compiler.is_compiling() and pinned.numel():
        named = pinned.tolist()
        low, high = min(named), max(named)
        if low < 0 or high >= num_keys:
            raise ValueError(
                f"pinned spans {low} to {high}; positions must lie in [0, {num_keys}): correct them"
            )
        if len(set(named)) != len(named):
            raise ValueError(
                "pinned names a position twice; positions must be distinct: pass pinned.unique()"
            )


def check_positive(name: str, value: int) -> None:
    """Refuse what is no whole number of at least 1."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValueError(f"{name}={value!r}; it must be a whole number of at least 1: pass 8, say")


def check_defaults(*, estimator: str, top_p: float, keep_diagonal: bool) -> None:
    """Refuse settings of block scores where rows are chosen by walking cells."""
    if (estimator, top_p, keep_diagonal) != ("mean", 1.0, False):
        raise ValueError(
            f"estimator={estimator!r}, top_p={top_p!r}, keep_diagonal={keep_diagonal!r} with "
            "order='content' or a summary; they choose blocks in sequence alone: leave them out"
        )
