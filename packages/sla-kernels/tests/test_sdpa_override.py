"""A model's dense attention replaced from outside."""

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import _get_current_function_mode_stack
from torch.utils.checkpoint import checkpoint

from sla_kernels import Site, SparseLinearAttention, sdpa_override


class Block(nn.Module):
    def __init__(self, **options: object) -> None:
        super().__init__()
        self.qkv, self.options = nn.Linear(64, 192), options

    def forward(self, x: Tensor) -> Tensor:
        b, n, _ = x.shape
        q, k, v = self.qkv(x).reshape(b, n, 3, 2, 32).permute(2, 0, 3, 1, 4)
        out = F.scaled_dot_product_attention(q, k, v, **self.options)
        return x + out.transpose(1, 2).reshape(b, n, 64)


def make(site: Site) -> SparseLinearAttention:
    return SparseLinearAttention(site.head_dim, keep=0.25, block=(32, 16))


def test_keeping_all_changes_nothing_and_keeping_less_does() -> None:
    model, x = nn.Sequential(Block(), Block()), torch.randn(2, 100, 64)
    dense = model(x)
    sites = []

    def keep_all(site: Site) -> SparseLinearAttention:
        sites.append(site)
        return SparseLinearAttention(site.head_dim, keep=1.0)

    with sdpa_override(model, keep_all):
        torch.testing.assert_close(model(x), dense)
        model(x)
    assert [(s.name, s.call, s.heads, s.head_dim) for s in sites] == [
        ("0", 0, 2, 32),
        ("1", 0, 2, 32),
    ]
    with sdpa_override(model, make):
        assert (model(x) - dense).abs().max() > 1e-3
    assert torch.equal(model(x), dense)


def test_replacements_can_be_trained() -> None:
    model, x = nn.Sequential(Block(), Block()), torch.randn(2, 100, 64)
    with sdpa_override(model, make) as overridden:
        model(x).sum().backward()
    modules = overridden.modules()
    assert set(modules) == {"0_0", "1_0"}
    assert all(p.grad is not None for p in modules.parameters())


def test_places_answered_with_none_stay_dense() -> None:
    model, x = nn.Sequential(Block(is_causal=True), Block()), torch.randn(2, 100, 64)
    dense = model(x)
    with sdpa_override(model, lambda site: None):
        assert torch.equal(model(x), dense)
    with sdpa_override(model, lambda site: make(site) if site.name == "1" else None):
        assert not torch.equal(model(x), dense)


@pytest.mark.parametrize(
    "options", [{"is_causal": True}, {"dropout_p": 0.1}, {"attn_mask": torch.ones(100, 100) > 0}]
)
def test_what_cannot_be_replaced_is_refused_by_name_and_nothing_stays(options: dict) -> None:
    model, x = nn.Sequential(Block(), Block(**options)), torch.randn(2, 100, 64)
    with pytest.raises(ValueError, match="module '1' passes"), sdpa_override(model, make):
        model(x)
    assert not model[0]._forward_hooks and not model[0]._forward_pre_hooks
    q = torch.randn(1, 2, 100, 32)
    assert F.scaled_dot_product_attention(q, q, q).shape == q.shape


@pytest.mark.parametrize("shape", [(5, 8), (3, 5, 8)])
def test_a_place_without_heads_has_one_and_can_stay_dense(shape: tuple[int, ...]) -> None:
    class Plain(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return F.scaled_dot_product_attention(x, x, x)

    model, x, heads = Plain(), torch.randn(shape), []
    with sdpa_override(model, lambda site: heads.append(site.heads)):
        assert torch.equal(model(x), F.scaled_dot_product_attention(x, x, x))
    assert heads == [1]
    with sdpa_override(model, make), pytest.raises(ValueError, match=f"query of {len(shape)} axes"):
        model(x)


def test_calls_outside_the_model_are_left_alone() -> None:
    q = torch.randn(1, 2, 100, 32)
    dense = F.scaled_dot_product_attention(q, q, q)
    with sdpa_override(Block(), make):
        assert torch.equal(F.scaled_dot_product_attention(q, q, q), dense)


@pytest.mark.parametrize("scale", [None, 1.0, 32**-0.5])
def test_a_place_tells_its_scale(scale: float | None) -> None:
    model, x = nn.Sequential(Block(scale=scale)), torch.randn(2, 100, 64)
    dense = model(x)
    with sdpa_override(
        model, lambda site: SparseLinearAttention(site.head_dim, keep=1.0, scale=site.scale)
    ):
        torch.testing.assert_close(model(x), dense)


def test_another_scale_than_at_first_is_refused_by_name_and_dense_where_left_so() -> None:
    model, x = nn.Sequential(Block(), Block(scale=1.0)), torch.randn(2, 100, 64)
    with sdpa_override(model, make):
        model(x)
        model[0].options["scale"] = 32**-0.5  # said in words, the same
        model(x)
        model[1].options["scale"] = 0.5
        with pytest.raises(ValueError, match=r"scale=0\.5 of call 0 in module '1'.* passed 1\.0"):
            model(x)
    with sdpa_override(model, lambda site: None):
        model(x)
        model[1].options["scale"] = 0.25
        assert torch.equal(model(x), model(x))


def test_no_two_places_have_one_name() -> None:
    model = nn.Sequential()
    model.a, model.a_b, model.c_d = nn.Module(), Block(), Block()
    model.a.b = Block()
    model.forward = lambda x: model.c_d(model.a_b(model.a.b(x)))
    with sdpa_override(model, make) as overridden:
        model(torch.randn(2, 100, 64))
    found = overridden.modules()
    assert set(found) == {"a/b/0", "a_b/0", "c_d_0"}
    assert set(found.values()) == set(overridden.attention.values())
    found.load_state_dict(found.state_dict())


def test_attention_modules_of_pytorch_are_replaced() -> None:
    layer = nn.TransformerEncoderLayer(64, 2, 128, dropout=0.0, batch_first=True)
    model = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
    x = torch.randn(1, 99, 64)
    dense, sites = model(x), []

    def keep_all(site: Site) -> SparseLinearAttention:
        sites.append(site.name)
        return SparseLinearAttention(site.head_dim, keep=1.0)

    with sdpa_override(model, keep_all):
        torch.testing.assert_close(model(x), dense)
        torch.testing.assert_close(model.eval()(x), dense)
    assert sites == ["layers.0.self_attn", "layers.1.self_attn"]
    with sdpa_override(model, make):
        assert (model(x) - dense).abs().max() > 1e-3


class Checkpointed(nn.Module):
    """Runs each block anew in the backward pass."""

    def __init__(self, **options: object) -> None:
        super().__init__()
        self.blocks, self.options = nn.ModuleList([Block(), Block()]), options

    def forward(self, x: Tensor) -> Tensor:
        for block in self.blocks:
            x = checkpoint(block, x, **self.options) if self.options else block(x)
        return x


@pytest.mark.parametrize("reentrant", [True, False])
def test_what_runs_anew_in_the_backward_pass_is_replaced_there(reentrant: bool) -> None:
    plain, anew = Checkpointed(), Checkpointed(use_reentrant=reentrant)
    anew.load_state_dict(plain.state_dict())
    x = torch.randn(1, 100, 64, requires_grad=True)
    found = []
    for model in (plain, anew):
        with sdpa_override(model, lambda site: make(site).requires_grad_(False)):
            model(x).square().sum().backward()
        found.append([p.grad for p in model.parameters()])
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other)


def test_a_hook_that_fails_before_a_forward_leaves_nothing_behind() -> None:
    model, x = nn.Sequential(Block(), Block()), torch.randn(1, 100, 64)

    def fails(*_: object) -> None:
        raise KeyError

    handle = model[1].register_forward_pre_hook(fails)
    dense = F.scaled_dot_product_attention(x, x, x)
    with sdpa_override(model, make) as overridden:
        with pytest.raises(KeyError):
            model(x)
        assert torch.equal(F.scaled_dot_product_attention(x, x, x), dense)
        handle.remove()
        model(x)
    assert set(overridden.attention) == {("0", 0), ("1", 0)}


def test_an_interruption_leaves_nothing_behind() -> None:
    model, q = nn.Sequential(Block(), nn.Identity()), torch.randn(1, 2, 100, 32)
    model[1].forward = lambda x: (_ for _ in ()).throw(KeyboardInterrupt)
    with pytest.raises(KeyboardInterrupt), sdpa_override(model, make):
        model(torch.randn(1, 100, 64))
    assert not _get_current_function_mode_stack()
    assert F.scaled_dot_product_attention(q, q, q).shape == q.shape


def test_threads_whose_forwards_overlap_each_get_what_one_alone_gets() -> None:
    model, met = nn.Sequential(Block(), nn.Identity(), Block()), Barrier(2)
    inputs = torch.randn(2, 1, 100, 64)

    def wait(*_: object) -> None:
        met.wait(10)

    with sdpa_override(model, make):
        alone = [model(x) for x in inputs]
        for part in model:
            part.register_forward_pre_hook(wait)
    with sdpa_override(model, make) as overridden, ThreadPoolExecutor(2) as threads:
        beside = list(threads.map(model, inputs))
    assert set(overridden.attention) == {("0", 0), ("2", 0)}
    assert all(torch.equal(*pair) for pair in zip(alone, beside, strict=True))
