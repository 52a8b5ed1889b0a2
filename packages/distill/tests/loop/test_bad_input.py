"""Bad input is found before the first update."""

import dataclasses

import pytest
import torch

import distill as package
from distill import AttentionOutputs, GuardConfig, Pair, distill

from .runs import CONFIG, PAIRS, assert_equal, trainee, weights


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
