"""The loop: it learns, it resumes bit-equal, it finds bad input before the first update."""

import contextlib
import copy
import dataclasses
import json
import random
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode

import distill as package
from distill import AttentionOutputs, Cycled, DistillConfig, GuardConfig, Pair, distill
from distill.record.settings import plain
from distill.resume.rng import isolated_rng, seed_all
from distill.step import determinism
from distill.step.schedule import learning_rate_at

PAIRS = [Pair(teacher=f"blocks.{i}.attn", student=f"blocks.{i}.attn") for i in range(3)]
CONFIG = DistillConfig(
    steps=12, learning_rate=1e-2, warmup_steps=2, checkpoint_every=4, ema_decay=0.9
)


class Stop(Exception):
    pass


class StopAfter(package.Quiet):
    """Dies in the middle of a run, as a stand-in for anything that can go wrong."""

    def __init__(self, step):
        self.step = step

    def stepped(self, record):
        if record.step == self.step:
            raise Stop


def trainee(models, **kwargs):
    teacher, student = models(**kwargs)
    package.freeze_except(student, "*.proj_l.*")
    return teacher, student


def weights(model):
    return {name: p.detach().clone() for name, p in model.named_parameters()}


def assert_equal(one, other):
    assert one.keys() == other.keys()
    different = [name for name in one if not torch.equal(one[name], other[name])]
    assert not different


def test_training_brings_the_student_closer(models, batches):
    teacher, student = trainee(models)
    before = weights(student)
    config = DistillConfig(steps=100, learning_rate=1e-2)
    result = distill(student, teacher, batches, pairs=PAIRS, config=config)
    losses = [entry["losses"]["loss"] for entry in result.history if entry["kind"] == "step"]
    assert losses[-1] < 0.75 * losses[0]
    assert result.stopped == "finished" and result.steps == 100 and result.losses["loss"] > 0
    changed = {n for n, p in student.named_parameters() if not torch.equal(p, before[n])}
    assert changed == set(result.trainable.shapes)
    assert all(p.grad is None for n, p in student.named_parameters() if n not in changed)


def test_a_step_is_the_textbook_step(models, batches):
    teacher, student = trainee(models)
    by_hand = copy.deepcopy(student)
    config = DistillConfig(
        steps=3, learning_rate=1e-2, warmup_steps=1, accumulation=2, clip_norm=0.01, guard=None
    )
    distill(student, teacher, batches, pairs=PAIRS, config=config)

    parameters = [p for p in by_hand.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(parameters, weight_decay=0.0)
    for step in range(3):
        optimizer.zero_grad()
        for batch in batches[2 * step % 4 : 2 * step % 4 + 2]:
            with package.AttentionDistillation(teacher, by_hand, PAIRS, "relative_mse") as both:
                with both.teacher_pass():
                    teacher(batch)
                with both.student_pass():
                    by_hand(batch)
                (both.loss() / 2).backward()
        nn.utils.clip_grad_norm_(parameters, 0.01)
        for group in optimizer.param_groups:
            group["lr"] = [5e-3, 1e-2, 1e-2 * (0.01 + 0.99 * 0.5)][step]
        optimizer.step()
    assert parameters
    for name, parameter in by_hand.named_parameters():
        torch.testing.assert_close(parameter, student.get_parameter(name), rtol=0, atol=1e-6)


def test_the_student_ends_with_the_average_of_its_weights(models, batches):
    teacher, student = trainee(models)
    weights_after = []

    class Watching(package.Quiet):
        def stepped(self, record):
            weights_after.append(weights(student))

    name, config = "blocks.0.attn.proj_l.weight", dataclasses.replace(CONFIG, ema_decay=0.3)
    average = weights(student)[name]
    distill(student, teacher, batches, pairs=PAIRS, config=config, reporter=Watching())
    for step, seen in enumerate(weights_after, 1):
        decay = min(0.3, (1 + step) / (10 + step))
        average = decay * average + (1 - decay) * seen[name]
    torch.testing.assert_close(student.get_parameter(name).detach(), average)
    assert not torch.allclose(average, weights_after[-1][name])


def test_numbers_of_numpy_are_those_of_python(models, batches, tmp_path):
    told = []
    for name, real, whole in (("python", float, int), ("numpy", np.float64, int)):
        teacher, student = trainee(models)
        config = DistillConfig(
            steps=whole(3),
            learning_rate=real(0.5),
            betas=(real(0.5), real(0.5)),
            accumulation=whole(2),
            seed=whole(3),
            guard=GuardConfig(spike=real(8), history=whole(8)),
        )
        result = distill(
            student,
            teacher,
            batches,
            objectives=[AttentionOutputs(pairs=tuple(PAIRS), weight=real(0.5))],
            config=config,
            directory=tmp_path / name,
        )
        told.append((result.losses, (tmp_path / name / "run.json").read_text()))
    assert told[0] == told[1]


def test_settings_hold_numbers_of_python():
    held = (
        GuardConfig(spike=np.float64(8)).spike,
        DistillConfig(steps=1, learning_rate=np.float64(0.5)).learning_rate,
    )
    assert [type(number) for number in held] == [float, float]


@pytest.mark.parametrize("value", [np.float32(0.5), np.int64(3), (np.float32(0.5), np.float64(2))])
def test_a_setting_of_numpy_becomes_one_of_python(value):
    found = plain(value)
    assert found == value and json.dumps(found)
    assert "np." not in repr(found)


def test_the_schedule_rises_then_falls():
    rates = [learning_rate_at(s, steps=20, peak=1.0, warmup_steps=4, final=0.1) for s in range(20)]
    assert rates[:5] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])
    assert rates[4:] == sorted(rates[4:], reverse=True) and 0.1 < rates[-1] < 0.12


@pytest.mark.parametrize("stop", range(1, 13))
def test_a_resumed_run_is_bit_equal(models, batches, tmp_path, stop):
    config = dataclasses.replace(CONFIG, accumulation=2, evaluate_every=3)
    options = {"pairs": PAIRS, "config": config, "held_out": batches[:2]}
    teacher, whole = trainee(models, dropout=0.3)
    expected = distill(whole, teacher, batches, **options)
    _, student = trainee(models, dropout=0.3)
    with pytest.raises(Stop):
        distill(student, teacher, batches, directory=tmp_path, reporter=StopAfter(stop), **options)
    _, student = trainee(models, dropout=0.3)
    result = distill(student, teacher, batches, directory=tmp_path, **options)
    assert_equal(weights(whole), weights(student))
    strip = [{k: v for k, v in e.items() if k != "seconds"} for e in expected.history]
    assert strip == [{k: v for k, v in e.items() if k != "seconds"} for e in result.history]
    assert result.metrics == expected.metrics and result.best_step == expected.best_step


class Read(torch.utils.data.IterableDataset):
    """A data set that is read forwards, and knows its length."""

    def __init__(self, items):
        self._items = items

    def __iter__(self):
        return iter(self._items)

    def __len__(self):
        return len(self._items)


@pytest.mark.parametrize("kind", ["source", "sequence", "iterable", "loader", "data set"])
def test_every_kind_of_batches_resumes_bit_equal(models, batches, tmp_path, kind):
    def make():
        loader = torch.utils.data.DataLoader(torch.cat(batches), batch_size=2, shuffle=True)
        kinds = {"source": Cycled(batches), "sequence": batches, "loader": loader}
        kinds["data set"] = Read(batches)
        return kinds.get(kind) or (batch for _ in range(4) for batch in batches)

    teacher, whole = trainee(models)
    distill(whole, teacher, make(), pairs=PAIRS, config=CONFIG)
    _, student = trainee(models)
    options = {"pairs": PAIRS, "config": CONFIG, "directory": tmp_path}
    with pytest.raises(Stop):
        distill(student, teacher, make(), reporter=StopAfter(7), **options)
    _, student = trainee(models)
    distill(student, teacher, make(), **options)
    assert_equal(weights(whole), weights(student))


def test_generators_and_modes_are_left_as_they_were(models, batches):
    teacher, student = trainee(models, dropout=0.5)
    student.eval()
    teacher.train()
    np.random.seed(2), torch.manual_seed(3)
    expected = np.random.rand(), torch.rand(())
    np.random.seed(2), torch.manual_seed(3)
    distill(student, teacher, batches, pairs=PAIRS, config=CONFIG)
    assert (np.random.rand(), torch.rand(())) == expected
    assert not any(m.training for m in student.modules())
    assert all(m.training for m in teacher.modules())


def test_every_generator_is_isolated_and_seeded():
    def draw():
        return random.random(), np.random.rand(), torch.rand(()).item()

    random.seed(1), np.random.seed(2), torch.manual_seed(3)
    expected = draw()
    random.seed(1), np.random.seed(2), torch.manual_seed(3)
    drawn = []
    for place in (4, 5, 4):
        with isolated_rng():
            seed_all(0, place)
            drawn.append(draw())
    assert draw() == expected
    assert drawn[0] == drawn[2] and all(a != b for a, b in zip(*drawn[:2], strict=True))


def test_a_run_until_the_last_pair_gives_the_same_student(models, batches):
    teacher, whole = trainee(models)
    distill(whole, teacher, batches, pairs=PAIRS, config=CONFIG)
    _, student = trainee(models)
    count = []
    student.head.register_forward_hook(lambda *_: count.append(1))
    config = dataclasses.replace(CONFIG, run_until="last_pair")
    distill(student, teacher, batches, pairs=PAIRS, config=config)
    assert_equal(weights(whole), weights(student))
    assert len(count) == 1


def test_a_run_until_the_last_pair_sees_all_of_batches_of_any_length(models):
    """A model that runs its blocks for each item: some batches hold more items than the first."""

    def one_by_one(model, items):
        for item in items:
            model(item)

    generator = torch.Generator().manual_seed(0)
    batches = [torch.randn(n, 6, 8, generator=generator) for n in (2, 4, 1)]
    told = []
    for until in ("end", "last_pair"):
        teacher, student = trainee(models)
        config = dataclasses.replace(CONFIG, run_until=until)
        options = {"pairs": PAIRS, "config": config, "forward": one_by_one, "held_out": batches}
        result = distill(student, teacher, batches, **options)
        told.append((result.losses, result.metrics, [p.tolist() for p in student.parameters()]))
    assert told[0] == told[1]


def test_recomputed_activations_give_the_same_student(models, batches):
    teacher, whole = trainee(models, dropout=0.2)
    distill(whole, teacher, batches, pairs=PAIRS, config=CONFIG)
    for until in ("end", "last_pair"):
        _, student = trainee(models, dropout=0.2)
        config = dataclasses.replace(CONFIG, checkpoint_activations=("blocks.*",), run_until=until)
        distill(student, teacher, batches, pairs=PAIRS, config=config)
        assert_equal(weights(whole), weights(student))
        assert "forward" not in vars(student.blocks[0])


def test_autocast_computes_in_bfloat16_and_learns_in_float32(models, batches):
    teacher, student = trainee(models)
    kinds = set()
    student.blocks[0].attn.register_forward_hook(lambda _, __, out: kinds.add(out.dtype))
    config = dataclasses.replace(CONFIG, autocast="bfloat16", steps=60)
    result = distill(student, teacher, batches, pairs=PAIRS, config=config)
    assert kinds == {torch.bfloat16}
    assert all(p.dtype == torch.float32 for p in student.parameters())
    assert result.losses["loss"] < 0.9 * result.history[0]["losses"]["loss"]


def test_deterministic_mode_holds_during_the_run_only(models, batches):
    teacher, student = trainee(models)
    seen = []
    student.head.register_forward_hook(
        lambda *_: seen.append(torch.are_deterministic_algorithms_enabled())
    )
    config = dataclasses.replace(CONFIG, deterministic=True)
    distill(student, teacher, batches, pairs=PAIRS, config=config)
    assert all(seen) and not torch.are_deterministic_algorithms_enabled()


def test_deterministic_mode_refuses_what_is_not(models, batches):
    def forward(model, batch):
        outputs = model(batch)
        assert torch.are_deterministic_algorithms_enabled()
        indices = torch.zeros(1, dtype=torch.long)
        if torch.is_grad_enabled():  # an operation that PyTorch lists as nondeterministic
            torch.empty(4).put_(indices, torch.ones(1), accumulate=False)
        return outputs

    teacher, student = trainee(models)
    config = dataclasses.replace(CONFIG, deterministic=True)
    with pytest.raises(RuntimeError, match="deterministic"):
        distill(student, teacher, batches, pairs=PAIRS, config=config, forward=forward)
    assert not torch.are_deterministic_algorithms_enabled()


def refuse(device):
    assert torch.are_deterministic_algorithms_enabled()
    raise RuntimeError(
        "Deterministic behavior was enabled ..., you must set an environment variable before "
        "running your PyTorch application: CUBLAS_WORKSPACE_CONFIG=:4096:8 or ..."
    )


def test_products_that_pytorch_would_refuse_are_refused_before_the_run(
    models, batches, tmp_path, monkeypatch
):
    teacher, student = trainee(models)
    config = dataclasses.replace(CONFIG, deterministic=True)
    monkeypatch.setattr(determinism, "_cuda_devices", lambda *models: {torch.device("cuda", 1)})
    monkeypatch.setattr(determinism, "_multiply", refuse)
    told = r"deterministic=True on cuda:1; .*start again with CUBLAS_WORKSPACE_CONFIG=:4096:8"
    with pytest.raises(ValueError, match=told):
        distill(student, teacher, batches, pairs=PAIRS, config=config, directory=tmp_path / "run")
    assert not (tmp_path / "run").exists()
    assert not torch.are_deterministic_algorithms_enabled()


def test_only_models_on_cuda_are_asked_for_products():
    here, there = nn.Linear(2, 2), nn.Module()
    with FakeTensorMode():
        there.weight = nn.Parameter(torch.empty(2, device="cuda"))
    assert determinism._cuda_devices(here) == set()
    assert determinism._cuda_devices(here, there) == {torch.device("cuda", 0)}


@pytest.mark.gpu
def test_a_resumed_run_ends_the_same_on_a_gpu(models, batches, tmp_path):
    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
    source = [batch.cuda() for batch in batches]
    config = dataclasses.replace(CONFIG, autocast="bfloat16", deterministic=True)
    students = []
    for directory, stop in ((None, None), (tmp_path, 7), (tmp_path, None)):
        teacher, student = (model.cuda() for model in trainee(models, dropout=0.2))
        with contextlib.suppress(Stop):
            distill(
                student,
                teacher,
                source,
                pairs=PAIRS,
                config=config,
                directory=directory,
                reporter=StopAfter(stop),
            )
        students.append(student)
    assert_equal(weights(students[0]), weights(students[2]))


class TestBadInput:
    """Everything here raises before the first update and leaves no hook behind."""

    def refuse(self, models, batches, match, *, prepare=None, config=CONFIG, **options):
        teacher, student = trainee(models)
        if prepare:
            prepare(student)
        before = weights(student)
        with pytest.raises(ValueError, match=match):
            distill(student, teacher, batches, **({"pairs": PAIRS, "config": config} | options))
        assert_equal(before, weights(student))
        for model in (teacher, student):
            assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())

    def test_a_module_that_does_not_exist(self, models, batches):
        pairs = [Pair(teacher="blocks.0.attn", student="blocks.0.attm")]
        self.refuse(models, batches, r"'blocks.0.attm'.*'blocks.0.attn'", pairs=pairs)

    def test_shapes_that_differ(self, models, batches):
        pairs = [Pair(teacher="head", student="blocks.0.attn")]
        self.refuse(models, batches, r"\(2, 6, 1\).*\(2, 6, 8\)", pairs=pairs)

    def test_nothing_trainable(self, models, batches):
        self.refuse(
            models, batches, "nothing is trainable", prepare=lambda s: s.requires_grad_(False)
        )

    def test_no_batches(self, models):
        for empty in ([], iter([]), torch.utils.data.DataLoader([])):
            self.refuse(models, empty, "batches are empty|at least one batch")
        self.refuse(models, 5, "batches=int; they must")
        self.refuse(models, {"images": torch.ones(2, 6, 8)}, "batches=dict; .* give a list of")

    def test_no_pairs_or_objectives(self, models, batches):
        self.refuse(models, batches, r"pairs=\(\); objective .attention. needs", pairs=[])
        self.refuse(models, batches, r"objectives=\(\); at least one", objectives=[])
        twice = [AttentionOutputs(), AttentionOutputs(weight=2.0)]
        self.refuse(models, batches, "names of their own", objectives=twice)

    def test_a_loss_that_reaches_nothing_trainable(self, models, batches):
        def only_the_last(student):
            package.freeze_except(student, "head.*")

        self.refuse(models, batches, r"head.weight.*does not depend", prepare=only_the_last)

    def test_low_precision_parameters(self, models, batches):
        def to_half(student):
            student.blocks[0].attn.proj_l.bfloat16()

        self.refuse(models, batches, r"proj_l.weight=torch.bfloat16; what trains", prepare=to_half)

    def test_a_trainable_parameter_that_is_the_teachers_too(self, models, batches):
        teacher, student = trainee(models)
        teacher.blocks[0].attn.proj_l = student.blocks[0].attn.proj_l
        with pytest.raises(ValueError, match=r"trainable='blocks\.0\..*; it is a parameter of"):
            distill(student, teacher, batches, pairs=PAIRS, config=CONFIG)
        student.blocks[0].attn.proj_l.requires_grad_(False)  # what is frozen may be shared
        distill(student, teacher, batches, pairs=PAIRS, config=CONFIG)

    def test_settings_that_contradict_each_other(self, models, batches):
        config = dataclasses.replace(CONFIG, patience=2)
        self.refuse(models, batches, "need an evaluation", config=config)
        config = dataclasses.replace(CONFIG, monitor="los")
        self.refuse(
            models, batches, "monitor='los'; it must be a metric", config=config, held_out=batches
        )
        self.refuse(models, batches, r"held_out=\[\]; it must hold", held_out=[])
        loader = torch.utils.data.DataLoader(torch.cat(batches), batch_size=2)
        for once in (loader, iter(batches), dict(enumerate(batches[:1], 1))):
            teacher, student = trainee(models)
            # where types are enforced they speak first
            with pytest.raises((ValueError, TypeError), match=r"held_out=.*give list\(|'held_out'"):
                distill(student, teacher, batches, pairs=PAIRS, config=config, held_out=once)
        config = dataclasses.replace(CONFIG, keep="best")
        self.refuse(models, batches, "needs a directory", config=config, held_out=batches)

    @pytest.mark.parametrize(
        ("field", "value"),
        [
            ("steps", 0),
            ("learning_rate", 0.0),
            ("final_learning_rate", 2.0),
            ("warmup_steps", 13),
            ("weight_decay", -1.0),
            ("betas", (0.9, 1.0)),
            ("clip_norm", 0.0),
            ("accumulation", 0),
            ("ema_decay", 1.0),
            ("checkpoint_every", 0),
            ("keep_last", 0),
            ("evaluate_every", 0),
            ("patience", 0),
        ],
    )
    def test_values_out_of_range_name_field_value_and_rule(self, field, value):
        text = rf"{field}={value}; it must be".replace("(", r"\(").replace(")", r"\)")
        with pytest.raises(ValueError, match=text):
            dataclasses.replace(CONFIG, **{field: value})

    def test_guard_values_out_of_range(self):
        for change in ({"spike": 1.0}, {"history": 3}, {"max_rollbacks": 0}):
            with pytest.raises(ValueError, match=f"{next(iter(change))}="):
                GuardConfig(**change)


@pytest.mark.parametrize("hollow", ["student", "teacher"])
def test_models_on_meta_are_refused(models, batches, hollow):
    both = dict(zip(("teacher", "student"), trainee(models), strict=True))
    both[hollow].head.to("meta")
    with pytest.raises(ValueError, match=f"{hollow}='head.weight' on meta; its parameters must"):
        distill(both["student"], both["teacher"], batches, pairs=PAIRS, config=CONFIG)


class TestOtherRuns:
    def test_changed_settings_are_named(self, models, batches, tmp_path):
        teacher, student = trainee(models)
        distill(student, teacher, batches, pairs=PAIRS, config=CONFIG, directory=tmp_path)
        config = dataclasses.replace(CONFIG, learning_rate=2e-2, keep_last=7)
        pairs = [dataclasses.replace(PAIRS[0], weight=2.0), *PAIRS[1:]]
        with pytest.raises(ValueError) as caught:
            distill(student, teacher, batches, pairs=pairs, config=config, directory=tmp_path)
        text = str(caught.value)
        assert "config.learning_rate: 0.01 in the run, 0.02 now" in text
        assert "objectives.attention.pairs.0.weight: 1.0 in the run, 2.0 now" in text
        assert "keep_last" not in text

    def test_a_number_written_in_another_way_is_the_same_setting(self, models, batches, tmp_path):
        teacher, student = trainee(models)
        options = {"pairs": PAIRS, "directory": tmp_path}
        for clip in (1, 1.0):
            config = dataclasses.replace(CONFIG, clip_norm=clip)
            result = distill(student, teacher, batches, config=config, **options)
            assert len(result.history) == result.steps == CONFIG.steps

    def test_a_run_without_a_checkpoint_starts_anew_with_other_settings(
        self, models, batches, tmp_path
    ):
        teacher, student = trainee(models)
        wrong = [Pair(teacher="head", student="blocks.0.attn")]
        with pytest.raises(ValueError, match="must be alike"):
            distill(student, teacher, batches, pairs=wrong, config=CONFIG, directory=tmp_path)
        result = distill(student, teacher, batches, pairs=PAIRS, config=CONFIG, directory=tmp_path)
        assert result.stopped == "finished" and len(result.history) == 12
        assert package.load_weights(tmp_path)

    def test_another_student_or_teacher_is_named(self, models, batches, tmp_path):
        teacher, student = trainee(models)
        options = {"pairs": PAIRS, "config": CONFIG, "directory": tmp_path}
        distill(student, teacher, batches, **options)
        nn.init.zeros_(teacher.head.weight)
        with pytest.raises(ValueError, match="teacher weights"):
            distill(student, teacher, batches, **options)

    @pytest.mark.parametrize(
        ("one", "other", "told"),
        [
            ({"a": 1.0}, {"a": 2.0}, "own.aim.a: 1.0 in the run, 2.0 now"),
            (torch.ones(3), torch.zeros(3), "own.aim: "),
            (torch.float32, torch.float64, "own.aim: 'torch.float32' in the run"),
            (Path("a"), Path("b"), "own.aim: 'a' in the run, 'b' now"),
        ],
    )
    def test_what_an_objective_of_ones_own_holds_is_named(
        self, models, batches, tmp_path, one, other, told
    ):
        @dataclasses.dataclass(frozen=True, kw_only=True)
        class Own(AttentionOutputs):
            name: str = "own"
            aim: object

        teacher, student = trainee(models)
        options = {"config": CONFIG, "directory": tmp_path}
        for aim in (one, copy.deepcopy(one)):
            objectives = [Own(pairs=tuple(PAIRS), aim=aim)]
            distill(student, teacher, batches, objectives=objectives, **options)
        objectives = [Own(pairs=tuple(PAIRS), aim=other)]
        with pytest.raises(ValueError, match=re.escape(told)):
            distill(student, teacher, batches, objectives=objectives, **options)

    def test_a_checkpoint_of_another_run_is_refused(self, models, batches, tmp_path):
        for place, rate in (("one", 1e-2), ("two", 2e-2)):
            teacher, student = trainee(models)
            config = dataclasses.replace(CONFIG, learning_rate=rate)
            distill(
                student, teacher, batches, pairs=PAIRS, config=config, directory=tmp_path / place
            )
        newest = "checkpoints/step-00000012"
        (tmp_path / "one" / newest).rename(tmp_path / "one" / "checkpoints/step-00000000")
        (tmp_path / "two" / newest).rename(tmp_path / "one" / newest)
        with pytest.raises(ValueError, match="belongs to another run"):
            distill(
                student,
                teacher,
                batches,
                pairs=PAIRS,
                config=dataclasses.replace(CONFIG, learning_rate=1e-2),
                directory=tmp_path / "one",
            )

    def test_resume_may_be_demanded_or_refused(self, models, batches, tmp_path):
        teacher, student = trainee(models)
        options = {"pairs": PAIRS, "config": CONFIG, "directory": tmp_path}
        with pytest.raises(ValueError, match=r"no run to resume"):
            distill(student, teacher, batches, resume="continue", **options)
        with pytest.raises(ValueError, match="directory=None; there is no run"):
            distill(student, teacher, batches, resume="continue", **options | {"directory": None})
        with pytest.raises((ValueError, TypeError), match="restart"):  # checked hints raise these
            distill(student, teacher, batches, resume="restart", **options)
        distill(student, teacher, batches, resume="new", **options)
        with pytest.raises(ValueError, match="already"):
            distill(student, teacher, batches, resume="new", **options)
        assert distill(student, teacher, batches, resume="continue", **options).steps == 12

    @pytest.mark.parametrize("damage", ["cut", "flip", "missing", "text"])
    def test_a_damaged_checkpoint_is_refused(self, models, batches, tmp_path, damage):
        teacher, student = trainee(models)
        options = {"pairs": PAIRS, "config": CONFIG, "directory": tmp_path}
        distill(student, teacher, batches, **options)
        place = tmp_path / "checkpoints/step-00000012"
        data = bytearray((place / "tensors.safetensors").read_bytes())
        if damage == "cut":
            (place / "tensors.safetensors").write_bytes(data[: len(data) // 2])
        elif damage == "flip":
            data[-5] ^= 1
            (place / "tensors.safetensors").write_bytes(data)
        elif damage == "missing":
            (place / "tensors.safetensors").unlink()
        else:
            (place / "state.json").write_text("{")
        with pytest.raises(ValueError, match=r"damaged.*remove this directory"):
            distill(student, teacher, batches, **options)


@pytest.mark.parametrize(
    ("found", "told"),
    [
        (None, "evaluate=NoneType; it must return numbers by name"),
        (0.5, "evaluate=float; it must return numbers by name"),
        ({"depth": None}, "depth=NoneType of evaluate; a metric must be one number"),
        ({"depth": torch.ones(2)}, "depth=Tensor of evaluate; a metric must be one number"),
    ],
)
def test_what_is_no_metric_is_refused_where_it_comes_in(models, batches, found, told):
    teacher, student = trainee(models)
    with pytest.raises(ValueError, match=told):
        distill(student, teacher, batches, pairs=PAIRS, config=CONFIG, evaluate=lambda _: found)
    with pytest.raises(ValueError, match=told.replace("evaluate", "measure")):
        package.sharded_mean(2, lambda _: found)
