"""Laws of mixed sources: exact shares, nothing skipped, nothing twice, the same after a restart."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from distill import Cycled, DistillConfig, Pair, Shuffled, distill, freeze_except, mixture


class Numbered:
    """Says who it is and which of its batches was asked for."""

    def __init__(self, name):
        self.name = name

    def at(self, index):
        return (self.name, index)


@given(
    weights=st.lists(st.integers(1, 5), min_size=1, max_size=4),
    seed=st.integers(0, 99),
    rounds=st.integers(1, 6),
)
@settings(max_examples=50, deadline=None)
def test_every_round_has_the_asked_shares_and_skips_no_batch(weights, seed, rounds):
    source = mixture([Numbered(n) for n in range(len(weights))], weights, seed)
    whole = sum(weights)
    drawn = [source.at(index) for index in range(rounds * whole)]
    for start in range(0, len(drawn), whole):
        names = [name for name, _ in drawn[start : start + whole]]
        assert [names.count(name) for name in range(len(weights))] == weights
    for name, weight in enumerate(weights):
        assert [own for who, own in drawn if who == name] == list(range(rounds * weight))


def test_a_batch_depends_on_its_number_and_the_seed_alone():
    sources = [Numbered("scenes"), Numbered("photos")]
    forward = [mixture(sources, (3, 2), seed=1).at(index) for index in range(40)]
    backward = mixture(sources, (3, 2), seed=1)
    assert [backward.at(index) for index in reversed(range(40))] == forward[::-1]
    assert [mixture(sources, (3, 2), seed=2).at(index) for index in range(40)] != forward


def test_an_interrupted_run_on_a_mixture_ends_bit_equal(models, batches, tmp_path):
    def run(directory, stop_after=None):
        teacher, student = models()
        freeze_except(student, "*.proj_l.*")
        source = mixture([batches, (2 * batch for batch in batches * 9)], (2, 1), seed=5)
        count = []

        def counted(model, batch):
            count.append(1)
            if len(count) == stop_after:
                raise KeyboardInterrupt
            return model(batch)

        distill(
            student,
            teacher,
            source,
            pairs=[Pair(teacher="blocks.1.attn", student="blocks.1.attn")],
            config=DistillConfig(steps=20, checkpoint_every=4),
            forward=counted,
            directory=directory,
        )
        return student.state_dict()

    whole = run(None)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, stop_after=27)
    resumed = run(tmp_path)
    assert whole.keys() == resumed.keys() and len(whole) > 0
    assert all(torch.equal(tensor, resumed[name]) for name, tensor in whole.items())


def test_equal_batches_have_equal_keys_and_others_do_not():
    source = mixture([Cycled([1, 2]), Shuffled(list(range(6)), batch_size=2)], (1, 1), seed=3)
    batches = {}
    for index in range(24):
        batches.setdefault(source.key(index), []).append(str(source.at(index)))
    assert len(batches) == 5 and all(len(set(same)) == 1 for same in batches.values())
    with pytest.raises(ValueError, match=r"batches\[0\]=Numbered; a store .*key\(index\)"):
        mixture([Numbered("a")], (1,)).key(0)


@pytest.mark.parametrize("weights", [(1,), (1, 0), (0.5, 0.5), (1, 2, 3)])
def test_weights_must_be_whole_and_one_for_each_source(weights):
    with pytest.raises(ValueError, match=r"weights=\["):
        mixture([Numbered("a"), Numbered("b")], weights)
    with pytest.raises(ValueError, match="one at least"):
        mixture([], ())
