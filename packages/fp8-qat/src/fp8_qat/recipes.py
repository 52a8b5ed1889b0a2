"""Ready recipes, named for what they equal.

Weights and activations are E4M3 throughout: no gradient is quantized, so the wider
E5M2 has no part here unless a `Spec` asks for it.
"""

from fp8_qat.numerics.errors import check_choice
from fp8_qat.numerics.spec import Recipe, Spec


def rowwise(*, pow2: bool = False) -> Recipe:
    """One scale per output row of a weight and per token: the default of this package.

    Float32 scales amax / 448 and division, also for bfloat16 tensors, so that eager and
    compiled code agree on a CPU; torchao's inference computes the same for float32 tensors.
    - `pow2`: power-of-two scales, as the rowwise recipe of `torchao.float8` training has them.
    """
    spec = Spec(rule="double_pow2") if pow2 else Spec()
    return Recipe(name="rowwise_pow2" if pow2 else "rowwise", weight=spec, activation=spec)


def tensorwise() -> Recipe:
    """One scale per tensor, as `torchao.float8` training computes it."""
    spec = Spec(granularity="tensor", rule="double")
    return Recipe(name="tensorwise", weight=spec, activation=spec)


def te_current(*, pow2: bool = False) -> Recipe:
    """Transformer Engine's `Float8CurrentScaling`: one scale per tensor, of this step."""
    spec = Spec(granularity="tensor", rule="multiply_pow2" if pow2 else "multiply")
    return Recipe(name="te_current_pow2" if pow2 else "te_current", weight=spec, activation=spec)


def delayed(*, history: int = 1024, margin: int = 0, most_recent: bool = False) -> Recipe:
    """Transformer Engine's `DelayedScaling`: one scale per tensor, of past steps."""
    spec = Spec(
        granularity="tensor",
        rule="multiply",
        mode="delayed",
        history=history,
        algorithm="most_recent" if most_recent else "max",
        margin=margin,
    )
    return Recipe(name="delayed", weight=spec, activation=spec)


def static() -> Recipe:
    """One scale per output row of a weight, one calibrated scale for all activations."""
    activation = Spec(granularity="tensor", mode="static")
    return Recipe(name="static", weight=Spec(), activation=activation)


def block(*, pow2: bool = True) -> Recipe:
    """Transformer Engine's `Float8BlockScaling`: 128 x 128 weights, 1 x 128 activations."""
    rule = "multiply_pow2" if pow2 else "multiply"
    return _blocks("block" if pow2 else "block_fp32", rule)


def deepseek_block(*, ue8m0: bool = False) -> Recipe:
    """DeepGEMM's blocks: 128 x 128 weights, 1 x 128 activations, amax floored at 1e-4."""
    rule = "reciprocal_pow2" if ue8m0 else "reciprocal"
    return _blocks("deepseek_block_ue8m0" if ue8m0 else "deepseek_block", rule)


def mxfp8(*, floor: bool = False) -> Recipe:
    """MXFP8: 1 x 32 blocks with power-of-two scales, rounded up or (`floor`) down."""
    spec = Spec(granularity=(1, 32), rule="mx_floor" if floor else "mx_rceil")
    return Recipe(name="mxfp8_floor" if floor else "mxfp8", weight=spec, activation=spec)


def weight_only() -> Recipe:
    """One scale per output row of a weight; activations stay in high precision."""
    return Recipe(name="weight_only", weight=Spec(), activation=None)


def _blocks(name: str, rule: str) -> Recipe:
    return Recipe(
        name=name,
        weight=Spec(granularity=(128, 128), rule=rule),
        activation=Spec(granularity=(1, 128), rule=rule),
    )


_READY = {
    recipe.name: recipe
    for recipe in (
        rowwise(),
        rowwise(pow2=True),
        tensorwise(),
        te_current(),
        te_current(pow2=True),
        delayed(),
        static(),
        block(),
        block(pow2=False),
        deepseek_block(),
        deepseek_block(ue8m0=True),
        mxfp8(),
        mxfp8(floor=True),
        weight_only(),
    )
}


def names() -> list[str]:
    """List the names that `by_name` knows."""
    return list(_READY)


def by_name(name: str) -> Recipe:
    """Give a ready recipe with its default settings; ValueError lists the known names."""
    check_choice("recipe", name, _READY)
    return _READY[name]
