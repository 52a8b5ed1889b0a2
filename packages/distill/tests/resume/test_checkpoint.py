"""A checkpoint is read whole or refused: what is missing, cut, or of another format is named."""

import json
import shutil

import pytest
import torch

from distill.batches import Shuffled, Streamed
from distill.resume.checkpoint import (
    list_checkpoints,
    load_checkpoint,
    prune_checkpoints,
    save_checkpoint,
)
from distill.resume.files import remove_partial
from distill.resume.state import _check


@pytest.fixture
def checkpoint(tmp_path):
    save_checkpoint(tmp_path, 3, {"a": torch.arange(4.0)}, {"b": [1, 2]})
    (path,) = list_checkpoints(tmp_path)
    return path


def test_what_is_written_comes_back(checkpoint):
    found = load_checkpoint(checkpoint)
    assert (found.step, found.state) == (3, {"b": [1, 2]})
    assert torch.equal(found.tensors["a"], torch.arange(4.0))


@pytest.mark.parametrize("name", ["state.json", "tensors.safetensors"])
def test_a_missing_file_is_named(checkpoint, name):
    (checkpoint / name).unlink()
    with pytest.raises(ValueError, match=f"{name} is missing"):
        load_checkpoint(checkpoint)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda content: [content], "state.json holds no object"),
        (lambda content: content | {"format": 99}, "format=99 of checkpoint .*: resume with"),
        (lambda content: content | {"sha256": "0"}, "tensors.safetensors is not what was written"),
        (lambda content: {"format": content["format"]}, "lacks sha256, state, step"),
    ],
)
def test_a_state_that_is_none_is_refused(checkpoint, change, message):
    place = checkpoint / "state.json"
    place.write_text(json.dumps(change(json.loads(place.read_text()))))
    with pytest.raises(ValueError, match=message):
        load_checkpoint(checkpoint)
    place.write_text(place.read_text()[:-2])
    with pytest.raises(ValueError, match=r"state\.json cannot be read"):
        load_checkpoint(checkpoint)


def test_the_newest_and_those_asked_for_are_kept(tmp_path):
    for step in range(1, 7):
        save_checkpoint(tmp_path, step, {"a": torch.zeros(1)}, {})
    copy = shutil.copytree(tmp_path / "step-00000001", tmp_path / "step-00000001-copy")
    prune_checkpoints(tmp_path, keep_last=2, keep=[3])
    assert [int(path.name[5:]) for path in list_checkpoints(tmp_path)] == [3, 5, 6]
    assert load_checkpoint(copy).step == 1  # somebody's, who made it by hand


def test_of_a_checkpoint_that_was_moved_the_link_is_removed(tmp_path):
    here, far = tmp_path / "here", tmp_path / "far"
    for step in (1, 2):
        save_checkpoint(here, step, {"a": torch.zeros(1)}, {})
    shutil.move(here / "step-00000001", far)
    (here / "step-00000001").symlink_to(far)
    (here / ".step-00000000.partial").symlink_to(far)  # as an earlier version left it
    remove_partial(here)
    prune_checkpoints(here, keep_last=1, keep=[])
    assert [path.name for path in here.iterdir()] == ["step-00000002"]
    assert load_checkpoint(far).step == 1


def test_tensors_of_another_student_are_told_by_name_and_shape():
    known = {"a": torch.zeros(2), "b": torch.zeros(3)}
    _check("model", known, dict(known))
    with pytest.raises(ValueError, match=r"missing=\['b'\], unknown=\['c'\] \(1 and 1 in all\)"):
        _check("model", known, {"a": torch.zeros(2), "c": torch.zeros(3)})
    with pytest.raises(ValueError, match=r"b=\(4,\) in the checkpoint; the student's has shape"):
        _check("model", known, {"a": torch.zeros(2), "b": torch.zeros(4)})


def test_batches_that_cannot_be_given_are_refused():
    source = Streamed(iter([1, 2, 3]), seed=0)
    assert [source.at(0), source.at(2)] == [1, 3]
    with pytest.raises(ValueError, match="index=1; this batch of an iterable was already read"):
        source.at(1)
    with pytest.raises(ValueError, match="batch_size=4; it must be from 1 to the number"):
        Shuffled([1, 2, 3], batch_size=4)
