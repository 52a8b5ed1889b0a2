"""Whatever a run is set up with: settings that hold, batches in their order, or one sentence."""

import re
from typing import Any

import torch
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from torch import nn

from distill import (
    AttentionDistillation,
    AttentionOutputs,
    CameraTokens,
    Consistency,
    Cycled,
    DistillConfig,
    Fit,
    GuardConfig,
    Pair,
    Sharding,
    Shuffled,
    Training,
    Views,
    add_lora,
    distill,
    fit_projections,
    freeze_except,
    merge_lora,
    mixture,
    pair_sites,
    train_only,
)

LIMITED = settings(
    max_examples=40,
    deadline=None,
    derandomize=True,
    phases=(Phase.generate,),
    suppress_health_check=list(HealthCheck),
)
SENTENCE = re.compile(r"\w+.*[;:].*", re.S)
NAN, INF = float("nan"), float("inf")
NUMBERS = st.sampled_from([1, 2, 3, 0, -1, 0.5, 2.5, NAN, INF, -INF, None, True, "2", 2**70])
NAMES = st.sampled_from(["", "a", "a.b", "*", "a*", "x", "[", "\0", "a.weight", "proj", "lora"])


class Net(nn.Module):
    """Two layers, one inside the other's name."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Linear(4, 4)
        self.a.b = nn.Linear(4, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.a(x) + self.a.b(x)


def answered(function: Any, *arguments: Any, **options: Any) -> Any:
    """What a call returns, or None where it refuses in a sentence."""
    try:
        return function(*arguments, **options)
    except (ValueError, TypeError) as error:
        assert SENTENCE.match(str(error)) or "Type-check" in str(error), error
        return None


def options_of(*names: str, **named: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    """Any of these options, given or left out; those without a strategy are numbers."""
    return st.fixed_dictionaries({}, optional=dict.fromkeys(names, NUMBERS) | named)


CONFIGS = options_of(
    *("learning_rate", "final_learning_rate", "warmup_steps", "weight_decay", "clip_norm"),
    *("accumulation", "ema_decay", "checkpoint_every", "keep_last", "evaluate_every", "patience"),
    betas=st.tuples(NUMBERS, NUMBERS),
    autocast=st.sampled_from([None, "bfloat16", "float16", 1]),
    run_until=st.sampled_from(["end", "last_pair", "never"]),
    keep=st.sampled_from(["last", "best", "all"]),
    monitor_mode=st.sampled_from(["min", "max", "mean"]),
    seed=st.sampled_from([0, 1, -1, 2**40, 1.5, None]),
)


@LIMITED
@given(steps=st.sampled_from([1, 2, 0, -1, 1.5, True, None, NAN, "3"]), more=CONFIGS)
def test_settings_hold_or_are_refused_and_a_run_with_them_ends(
    steps: Any, more: dict[str, Any]
) -> None:
    config = answered(DistillConfig, steps=steps, **more)
    if config is None or config.steps > 3 or config.accumulation > 3:
        return
    teacher, student = Net(), Net()
    result = answered(
        distill, student, teacher, [torch.rand(2, 4)],
        pairs=[Pair(teacher="a.b", student="a.b")],
        objectives=[AttentionOutputs()],
        config=config,
        held_out=[torch.rand(2, 4)],
    )  # fmt: skip
    if result is not None:
        assert result.steps == config.steps or result.stopped == "early"
        assert all(p.isfinite().all() for p in student.parameters())


@LIMITED
@given(
    kind=st.sampled_from([GuardConfig, Sharding, Training]),
    more=options_of(
        *("spike", "history", "max_rollbacks", "smallest_unit", "largest_unit"),
        *("steps", "learning_rate", "ema_decay", "accumulation", "checkpoint_every"),
        *("attention_weight", "solve_batches"),
        match=st.sampled_from(["attention", "outputs", "cameras", "all"]),
    ),
)
def test_other_settings_hold_or_are_refused(kind: Any, more: dict[str, Any]) -> None:
    made = answered(kind, **{k: v for k, v in more.items() if k in kind.__dataclass_fields__})
    if isinstance(made, Training):
        whole = answered(made.of, "proj")
        assert whole is None or whole.steps >= 0
    if isinstance(made, Sharding):
        assert 1 <= made.smallest_unit <= made.largest_unit


@LIMITED
@given(
    kind=st.sampled_from([Pair, AttentionOutputs, CameraTokens, Consistency]),
    more=options_of(
        *("weight", "item", "tokens", "neighbors", "stride", "visible"),
        at=st.sampled_from(["input", "output", "middle"]),
        loss=st.sampled_from(["mse", "cosine", "l1", None]),
        aim=st.sampled_from(["teacher", "zero", "one"]),
    ),
)
def test_pairs_and_objectives_are_made_or_refused(kind: Any, more: dict[str, Any]) -> None:
    words = {k: v for k, v in more.items() if k in kind.__dataclass_fields__}
    if kind is Pair:
        words |= {"teacher": "a.b", "student": "a.b"}
    made = answered(kind, **words)
    if made is not None:
        assert 0 < made.weight < INF
    if isinstance(made, Pair):
        models = Net(), Net()
        distillation = AttentionDistillation(*models, [made])
        with distillation:
            with distillation.teacher_pass():
                models[0](torch.rand(2, 4))
            with distillation.student_pass():
                answered(models[1], torch.rand(2, 4))
            loss = answered(distillation.loss)
        assert loss is None or bool(loss.isfinite())


@LIMITED
@given(
    length=st.integers(0, 5),
    size=NUMBERS,
    weights=st.lists(NUMBERS, max_size=3),
    index=st.integers(0, 40),
    views=NUMBERS,
)
def test_batches_come_in_a_known_order_or_are_refused(
    length: int, size: Any, weights: list[Any], index: int, views: Any
) -> None:
    items = [torch.tensor([float(i)]) for i in range(length)]
    cycled = answered(Cycled, items)
    assert (cycled is None) == (length == 0)
    shuffled = answered(Shuffled, items, batch_size=size)
    if shuffled is not None:
        assert torch.equal(shuffled.at(index), Shuffled(items, batch_size=size).at(index))
        epoch = torch.cat([shuffled.at(i) for i in range(len(shuffled))])
        assert len(epoch.unique()) == len(epoch) == len(shuffled) * size
    if cycled is not None:
        mixed = answered(mixture, [cycled] * len(weights), weights)
        assert mixed is None or mixed.at(index) in items
        drawn = answered(Views, lambda number: torch.rand(length, 3, 2, 2), views=views)
        assert drawn is None or drawn.at(index).shape[1] == min(length, views or length)


@LIMITED
@given(patterns=st.one_of(NAMES, st.lists(NAMES, max_size=2)), rank=NUMBERS, scale=NUMBERS)
def test_what_trains_is_named_or_refused(patterns: Any, rank: Any, scale: Any) -> None:
    model, x = Net(), torch.rand(2, 4)
    before = model(x)
    report = answered(freeze_except, model, patterns)
    if report is not None:
        assert report.trainable == sum(p.numel() for p in model.parameters() if p.requires_grad)
    layers = answered(add_lora, model, patterns, rank=rank, scale=scale)
    torch.testing.assert_close(model(x), before, equal_nan=True)
    if layers:
        assert merge_lora(model) == layers
        torch.testing.assert_close(model(x), before, equal_nan=True)


@LIMITED
@given(
    preset=NAMES,
    sites=st.lists(NAMES, max_size=2),
    rank=NUMBERS,
    projection=st.one_of(st.none(), NAMES),
)
def test_presets_train_something_or_are_refused(
    preset: Any, sites: list[str], rank: Any, projection: Any
) -> None:
    report = answered(train_only, Net(), preset, sites=sites, rank=rank, projection=projection)
    assert report is None or report.trainable > 0


@LIMITED
@given(
    pair=NAMES,
    layer=NAMES,
    count=NUMBERS,
    ridge=NUMBERS,
    start=st.sampled_from(["zero", "as_is", "one"]),
)
def test_layers_are_solved_for_or_refused(
    pair: str, layer: str, count: Any, ridge: Any, start: Any
) -> None:
    fits = [Fit(pair=Pair(teacher=pair, student=pair), layer=layer)]
    teacher, student = Net(), Net()
    if isinstance(count, int) and count > 3:
        return
    found = answered(
        fit_projections, student, teacher, [torch.rand(8, 4)], fits,
        count=count, ridge=ridge, start=start,
    )  # fmt: skip
    if found is not None:
        assert found[0].after <= found[0].before + 1e-6
        assert all(p.isfinite().all() for p in student.parameters())


@LIMITED
@given(names=st.lists(NAMES, max_size=3), weights=st.dictionaries(NAMES, NUMBERS, max_size=2))
def test_sites_are_paired_by_name_or_refused(names: list[str], weights: dict[str, Any]) -> None:
    sites = [Named(name) for name in names]
    pairs = answered(pair_sites, sites, weights=weights)
    if pairs is not None:
        assert [pair.student for pair in pairs] == names
        assert all(pair.weight == weights.get(pair.student, 1.0) for pair in pairs)


class Named:
    def __init__(self, name: str) -> None:
        self.name = name
