"""A run that was stopped anywhere goes on bit-equal, from every kind of batches."""

import contextlib
import dataclasses

import pytest
import torch

from distill import Cycled, distill

from .runs import CONFIG, PAIRS, Stop, StopAfter, assert_equal, trainee, weights


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
