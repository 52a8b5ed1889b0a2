"""Settings are numbers of Python; a run with others is refused, each setting by name."""

import copy
import dataclasses
import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import distill as package
from distill import AttentionOutputs, DistillConfig, GuardConfig, Pair, distill
from distill.record.settings import plain

from .runs import CONFIG, PAIRS, trainee


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
