"""Two processes are one: same weights, same evaluation, no batch twice, whole or sharded."""

import importlib.util
import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest
import torch
from torch import distributed

import distill
from distill.processes.world import World

SCRIPT = Path(__file__).with_name("two_processes.py")


@pytest.fixture(scope="module")
def one_process(tmp_path_factory):
    spec = importlib.util.spec_from_file_location("two_processes", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.train(tmp_path_factory.mktemp("one"))


TORCHRUN = ["torch.distributed.run", "--standalone", "--nproc-per-node=2"]
ACCELERATE = ["accelerate.commands.launch", "--multi_gpu", "--num_machines=1"]
ACCELERATE += ["--num_processes=2", "--mixed_precision=no", "--dynamo_backend=no"]
ACCELERATE += ["--main_process_port=0"]


def launch(launcher, folder, mode, *options):
    command = [sys.executable, "-W", "ignore", "-m", *launcher, *options, str(SCRIPT)]
    command += [str(folder / "run"), str(folder / "told.json"), mode]
    done = subprocess.run(command, capture_output=True, text=True, timeout=400)
    assert done.returncode == 0, why(done.stderr)
    return [json.loads((folder / f"told.{rank}").read_text()) for rank in (0, 1)]


def why(stderr):
    """The end of what the processes said, and of what their launcher says of them."""
    said, _, summary = stderr.rpartition("ChildFailedError")
    said = said.rpartition("Traceback (most recent call last)")[0]  # the launcher's own
    return f"{said[-3000:]}\n...\n{summary[-3000:]}"


@pytest.fixture(scope="module")
def two_processes(tmp_path_factory):
    return launch(TORCHRUN, tmp_path_factory.mktemp("two"), "ways")


def largest_difference(one, other):
    assert one.keys() == other.keys()
    return max(
        (torch.tensor(one[name]) - torch.tensor(other[name])).abs().max().item() for name in one
    )


def test_two_processes_equal_one_with_accumulation(one_process, two_processes):
    first, second = (told["whole"] for told in two_processes)
    assert largest_difference(first["weights"], second["weights"]) == 0
    assert largest_difference(first["weights"], one_process["weights"]) <= 1e-6
    assert first["losses"] == pytest.approx(one_process["losses"], rel=1e-6)
    assert first["metrics"] == pytest.approx(one_process["metrics"], rel=1e-6)
    assert first["metrics"] == second["metrics"]
    assert first["images"] == one_process["images"] == [4] * 12
    assert not set(first["indices"]) & set(second["indices"])
    assert sorted(first["indices"] + second["indices"]) == one_process["indices"]


@pytest.mark.parametrize("way", ["sharded", "early", "recomputed"])
def test_sharded_models_learn_the_same(two_processes, way):
    assert len(two_processes) == 2
    for told in two_processes:
        assert told["whole"]["held"] == 1.0 and 0.5 < told[way]["held"] < 0.75
        assert told[way]["weights"] == told["whole"]["weights"]
        assert told[way]["losses"] == told["whole"]["losses"]
        assert told[way]["metrics"] == told["whole"]["metrics"]
        assert told[way]["frozen"]


def test_every_process_ends_with_the_best_weights(two_processes):
    """The last step is the best: the second process waits until the first has written it."""
    assert len(two_processes) == 2
    assert all(told["best"]["weights"] == told["whole"]["weights"] for told in two_processes)


def test_metrics_that_differ_between_processes_do_not_part_them(two_processes):
    """As those of a GPU may by rounding: what the first process measured decides for all."""
    first, second = (told["apart"] for told in two_processes)
    assert first["metrics"] == second["metrics"]
    assert first["images"] == second["images"] and first["weights"] == second["weights"]


def test_a_sharded_run_may_go_on_in_one_process(one_process, tmp_path):
    """Killed at step 9 under two processes, continued from step 8 by one, with whole models."""
    with pytest.raises(AssertionError, match="SIGKILL"):
        launch(ACCELERATE, tmp_path, "fail")
    spec = importlib.util.spec_from_file_location("two_processes", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    told = module.train(tmp_path / "run")
    assert min(told["indices"]) == 16
    assert largest_difference(told["weights"], one_process["weights"]) <= 1e-6


def test_the_cause_of_a_failure_is_shown_beside_what_the_launcher_says_of_it():
    trace = "Traceback (most recent call last):\n"
    own = f"{trace}{'  the way into the launcher' * 200}\nChildFailedError: \n"
    told = why(f"{trace}OSError: the cause\n{own}exitcode: 1\n")
    assert "OSError: the cause" in told and "exitcode: 1" in told and "the way" not in told


@pytest.mark.nightly
def test_a_restart_by_torchrun_ends_bit_equal(two_processes, tmp_path):
    """Process 0 dies at step 9; torchrun starts both again, and they go on from step 8."""
    restarted = launch(TORCHRUN, tmp_path, "fail", "--max-restarts=1")
    assert len(restarted) == 2
    for rank, told in enumerate(restarted):
        assert min(told["indices"]) == 16 + rank
        assert told["weights"] == two_processes[rank]["whole"]["weights"]
        assert told["metrics"] == two_processes[rank]["whole"]["metrics"]


def test_a_world_of_one_changes_nothing():
    world, values = World.current(), torch.randn(3)
    assert world == World(0, 1) and world.leads
    assert world.sum(values) is values and list(world.share(3)) == [0, 1, 2]
    assert world.any(True) and not world.any(False)
    assert world.first(["a", "b"]) == ["a", "b"] and world.of_first({"a": 1.0}) == {"a": 1.0}
    assert world.idle_turns(3) == 0 and [World(r, 4).idle_turns(6) for r in range(4)] == [
        0,
        0,
        1,
        1,
    ]


def test_a_mean_is_exact_and_the_same_in_any_order():
    values = [1e16, 1.0, -1e16]
    mean = distill.sharded_mean(3, lambda item: {"m": values[item]})
    assert mean == {"m": 1 / 3}
    with pytest.raises(ValueError, match="nothing to evaluate"):
        distill.sharded_mean(0, lambda item: {})
    with pytest.raises(ValueError, match="of item 1; all items must have the same"):
        distill.sharded_mean(2, lambda item: {str(item): 0.0})


@pytest.mark.parametrize(("held", "same"), [((50, 100, 0), False), ((7, 7, 7), True)])
def test_all_processes_say_alike_whether_they_hold_the_same(held, same, monkeypatch):
    """Threads stand in for processes; the first holds the mean of all three."""
    meeting, told = Barrier(3), {}

    def all_reduce(message):
        told[id(message)] = message.clone()
        meeting.wait()
        total = sum(told.values())
        meeting.wait()
        message.copy_(total)
        told.pop(id(message))
        meeting.wait()

    monkeypatch.setattr(distributed, "all_reduce", all_reduce)
    monkeypatch.setattr(distributed, "get_backend", lambda: "gloo")
    with ThreadPoolExecutor(3) as threads:
        said = threads.map(lambda rank: World(rank, 3).same(held[rank]), range(3))
        assert list(said) == [same] * 3
