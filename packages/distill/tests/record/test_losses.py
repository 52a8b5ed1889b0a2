"""Laws of the losses: exactly zero where both are equal, and free of the scale."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from distill.record.losses import LOSSES, find_loss


@given(
    shape=st.lists(st.integers(1, 5), min_size=1, max_size=4),
    seed=st.integers(0, 99),
    name=st.sampled_from(sorted(LOSSES)),
    dtype=st.sampled_from([torch.float32, torch.float64, torch.bfloat16]),
)
@settings(max_examples=60, deadline=None)
def test_losses_are_zero_exactly_where_both_are_equal(shape, seed, name, dtype):
    generator = torch.Generator().manual_seed(seed)
    teacher = torch.randn(shape, generator=generator).to(dtype)
    student = teacher.clone().requires_grad_()
    loss = find_loss(name)(student, teacher)
    loss.backward()
    assert loss.item() == 0.0 and (student.grad == 0).all()
    other = teacher + torch.randn(shape, generator=generator).to(dtype)
    assert torch.equal(other, teacher) or name == "cosine" or find_loss(name)(other, teacher) > 0


@given(seed=st.integers(0, 99), scale=st.floats(0.01, 100))
@settings(max_examples=30, deadline=None)
def test_relative_losses_ignore_the_scale(seed, scale):
    generator = torch.Generator().manual_seed(seed)
    student, teacher = torch.randn(2, 4, 8, generator=generator, dtype=torch.float64)
    for name in ("relative_mse", "cosine", "distance"):
        loss = find_loss(name)
        torch.testing.assert_close(loss(scale * student, scale * teacher), loss(student, teacher))
    torch.testing.assert_close(
        find_loss("cosine")(student, teacher),
        1 - torch.cosine_similarity(student, teacher, dim=-1).mean(),
    )
    torch.testing.assert_close(
        find_loss("relative_mse")(student, teacher),
        (student - teacher).square().sum() / teacher.square().sum(),
    )


def test_distance_is_the_mean_distance_whatever_few_tokens_do():
    teacher = torch.nn.functional.normalize(torch.randn(100, 8, dtype=torch.float64), dim=1)
    off = torch.nn.functional.normalize(torch.randn(100, 8, dtype=torch.float64), dim=1)
    far = torch.linspace(0.1, 0.2, 100, dtype=torch.float64)
    far[0] = 10.0
    found = find_loss("distance")(teacher + far[:, None] * off, teacher)
    torch.testing.assert_close(found, far.mean(), rtol=0.02, atol=0)
    squares = find_loss("relative_mse")(teacher + far[:, None] * off, teacher)
    assert far[0] ** 2 / 100 > 0.9 * squares and far[0] / 100 < 0.5 * found
