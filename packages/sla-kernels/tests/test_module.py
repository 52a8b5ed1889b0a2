"""The module: parameters, training, autocast; and what `explain` says of it."""

import pytest
import torch
import torch.nn.functional as F
import torch.utils.checkpoint

from sla_kernels import (
    SparseLinearAttention,
    explain,
    observed_selections,
    select_blocks,
    sla_attention,
)

from .cases import qkv

PINNED = torch.tensor([0, 57, 114, 171])


def make(**options: object) -> SparseLinearAttention:
    return SparseLinearAttention(32, **{"keep": 0.3, "block": (32, 16), **options})


def test_state_dict_names_are_those_of_thu_ml_and_start_at_zero() -> None:
    state = make().state_dict()
    assert {name: tuple(x.shape) for name, x in state.items()} == {
        "proj_l.weight": (32, 32),
        "proj_l.bias": (32,),
    }
    assert not any(x.any() for x in state.values())
    assert not list(make(linear=None).parameters())


def test_the_module_is_the_function() -> None:
    q, k, v = qkv(228, 228)
    module = make()
    module.load_state_dict({"proj_l.weight": torch.randn(32, 32), "proj_l.bias": torch.randn(32)})
    weight, bias = module.proj_l.weight, module.proj_l.bias
    expected = sla_attention(
        q, k, v, keep=0.3, block=(32, 16), pinned=PINNED, weight=weight, bias=bias
    )
    assert torch.equal(module(q, k, v, pinned=PINNED), expected)


def test_training_and_inference_compute_the_same() -> None:
    q, k, v = qkv(228, 228)
    module = make()
    with torch.no_grad():
        deployed = module.eval()(q, k, v, pinned=PINNED)
    assert torch.equal(module.train()(q, k, v, pinned=PINNED), deployed)


def test_gradient_steps_bring_the_output_nearer_to_dense_attention() -> None:
    q, k, v = qkv(228, 228)
    target = F.scaled_dot_product_attention(q, k, v)
    module = make()
    optimizer = torch.optim.Adam(module.parameters(), lr=1e-2)
    losses = []
    for _ in range(30):
        loss = F.mse_loss(module(q, k, v, pinned=PINNED), target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.95 * losses[0]


def test_a_learned_mix_starts_near_the_sparse_branch() -> None:
    q, k, v = qkv(228, 228)
    module = make(combine="alpha", heads=2)
    assert set(module.state_dict()) == {"proj_l.weight", "proj_l.bias", "mix_logit"}
    torch.testing.assert_close(module(q, k, v), 0.982014 * make()(q, k, v))
    module(q, k, v).square().sum().backward()
    assert module.mix_logit.grad.abs().min() > 0


def test_autocast_casts_as_dense_attention_does() -> None:
    q, k, v = qkv(228, 228)
    module = make()
    with torch.autocast("cpu", torch.bfloat16):
        out = module(q, k, v.bfloat16(), pinned=PINNED)
        assert out.dtype == F.scaled_dot_product_attention(q, k, v.bfloat16()).dtype
        with torch.autocast("cpu", enabled=False):
            plain = module(*(x.bfloat16() for x in (q, k, v)), pinned=PINNED)
    assert torch.equal(out, plain)
    out.float().sum().backward()
    assert module.proj_l.weight.grad.dtype == torch.float32


def test_explain_takes_what_attention_takes_under_autocast() -> None:
    q, k, _ = qkv(228, 228)
    with torch.autocast("cpu", torch.bfloat16):
        told = explain(q, k.bfloat16(), keep=0.3, block=(32, 16))
    assert told == explain(q.bfloat16(), k.bfloat16(), keep=0.3, block=(32, 16))


def test_explain_says_what_runs() -> None:
    q, k, _ = qkv(228, 228)
    told = explain(q, k, keep=0.3, block=(32, 16), pinned=PINNED)
    selection = select_blocks(q, k, keep=0.3, block=(32, 16), pinned=PINNED)
    assert (told.backend, told.density, told.pinned) == ("eager", selection.density, 4)
    assert told.kept_blocks == (4, 4) and told.key_blocks == 14 and not told.dense
    assert "on the CPU" in str(told)


def test_activation_checkpointing_changes_no_gradient() -> None:
    module = SparseLinearAttention(16, keep=0.5, block=(16, 16))
    torch.nn.init.normal_(module.proj_l.weight)
    found = []
    for recompute in (False, True):
        q, k, v = (
            torch.randn(1, 2, 70, 16, generator=torch.Generator().manual_seed(i)).requires_grad_()
            for i in range(3)
        )
        module.zero_grad()
        out = (
            torch.utils.checkpoint.checkpoint(module, q, k, v, use_reentrant=False)
            if recompute
            else module(q, k, v)
        )
        out.square().sum().backward()
        found.append([x.grad for x in (q, k, v, module.proj_l.weight, module.proj_l.bias)])
    assert all(torch.equal(one, other) for one, other in zip(*found, strict=True))


def test_a_module_says_which_blocks_it_attends() -> None:
    q, k, v = qkv(228, 228)
    module = make(estimator="subblock_lse", top_p=0.7)
    expected = select_blocks(
        q, k, keep=0.3, block=(32, 16), pinned=PINNED, estimator="subblock_lse", top_p=0.7
    )
    with observed_selections(torch.nn.Sequential(module)) as found:
        module(q, k, v, PINNED)
        module(q, k, v)
    module(q, k, v)  # unobserved
    assert [selection.num_pinned for selection in found] == [4, 0]
    for selection in (module.selection(q, k, v, PINNED), found[0]):
        assert torch.equal(selection.indices, expected.indices)
        assert torch.equal(selection.counts, expected.counts)


def test_observation_ends_with_its_context_even_by_an_error() -> None:
    module = make()
    with pytest.raises(KeyError), observed_selections(module):
        raise KeyError
    assert module.observer is None


@pytest.mark.parametrize("heads", [1, 3])
def test_a_mix_for_another_number_of_heads_is_refused(heads: int) -> None:
    module = make(combine="alpha", heads=heads)
    with pytest.raises(ValueError, match=f"q has 2 heads; this module was made for {heads}: pass"):
        module(*qkv(100, 100))


@pytest.mark.parametrize("heads", [0, -1, True])
def test_a_mix_for_no_number_of_heads_is_refused(heads: object) -> None:
    with pytest.raises(ValueError, match=f"heads={heads}; it must be a whole number"):
        make(combine="alpha", heads=heads)
