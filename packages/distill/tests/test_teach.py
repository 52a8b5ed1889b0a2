"""What a training fills in for what trains, and what it makes of two small networks."""

from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from distill import Training, Views, teach, train_only
from distill.objectives.camera_tokens import CameraTokens
from distill.objectives.cameras import Pose
from distill.objectives.features import AttentionOutputs, Features
from distill.objectives.pixels import Depth
from distill.teach import objectives


@dataclass
class Site:
    """The attention of the block."""

    name: str = "block.attn"


class Core(nn.Module):
    """A part that is kept, and a linear branch with a projection that begins at zero."""

    def __init__(self, share: float) -> None:
        super().__init__()
        self.share = share
        self.proj_l = nn.Linear(4, 4)
        nn.init.zeros_(self.proj_l.weight)
        nn.init.zeros_(self.proj_l.bias)

    def forward(self, x: Tensor) -> Tensor:
        kept: Tensor = self.share * x
        return kept + self.proj_l(x)


class Attention(nn.Module):
    def __init__(self, share: float) -> None:
        super().__init__()
        self.core = Core(share)
        self.proj = nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.proj(self.core(x))
        return found


def network(share: float) -> nn.Module:
    """Views `b v c y x` as tokens `b (v y x) c` through one attention."""
    torch.manual_seed(0)
    model = nn.Module()
    model.add_module("block", nn.Module())
    model.get_submodule("block").add_module("attn", Attention(share))
    return model


def run(model: nn.Module, images: Tensor) -> dict[str, Tensor]:
    tokens = images.movedim(2, -1).flatten(1, 3)
    return {"tokens": model.get_submodule("block.attn")(tokens)}


BATCHES = Views(lambda number: torch.rand(3, 4, 2, 2), views=2)


def test_a_training_fills_in_what_the_preset_wants() -> None:
    for trainable, steps, rate, solved in (
        ("none", 0, 1e-4, 0),
        ("proj", 80, 1e-3, 0),
        ("out", 0, 1e-4, 12),
        ("lora", 80, 1e-4, 0),
    ):
        made = Training().of(trainable)
        assert (made.steps, made.learning_rate, made.solve_batches) == (steps, rate, solved)
    gentle = Training().of("gains")
    assert (gentle.steps, gentle.ema_decay, gentle.match) == (160, 0.97, "tokens")
    assert Training(match="outputs").of("gains").match == "outputs"
    assert Training().of("attn").match == "attention"
    with pytest.raises(ValueError, match=r"attention_weight=0\.0 with match=attention; "):
        Training(attention_weight=0.0).of("attn")
    asked = Training(steps=3, learning_rate=0.5, solve_batches=2, match="attention")
    assert asked.of("proj") == asked
    with pytest.raises(ValueError, match="steps=5 with trainable=none; something must train"):
        Training(steps=5).of("none")
    for trainable in ("none", "lora"):
        with pytest.raises(ValueError, match=f"solve_batches=2 with trainable={trainable}; "):
            Training(solve_batches=2).of(trainable)


@pytest.mark.parametrize(
    ("given", "part"),
    [
        ({"learning_rate": 0.5}, "learning_rate=0.5"),
        ({"ema_decay": 0.9}, "ema_decay=0.9"),
        ({"accumulation": 2}, "accumulation=2"),
        ({"checkpoint_every": 1}, "checkpoint_every=1"),
        ({"match": "outputs"}, "match=outputs"),
        ({"attention_weight": 0.1}, "attention_weight=0.1"),
        ({"recompute": True}, "recompute=True"),
    ],
)
def test_what_says_how_steps_are_made_is_refused_where_none_is(given: dict, part: str) -> None:
    for trainable in ("none", "out"):
        with pytest.raises(ValueError, match=f"{part} with trainable={trainable}; "):
            Training(**given).of(trainable)
    with pytest.raises(ValueError, match=part):
        Training(steps=0, **given).of("none")
    assert Training(steps=0, **given).of("lora").steps == 0
    for trainable in ("none", "out"):
        usual = Training().of(trainable)
        assert usual.of(trainable) == usual


def test_a_weight_beside_tokens_which_have_none_is_refused() -> None:
    for weight in (0.0, 1.0):
        assert Training(attention_weight=weight).of("gains").match == "tokens"
    with pytest.raises(ValueError, match=r"attention_weight=0\.1 with match=tokens; "):
        Training(attention_weight=0.1).of("gains")


@pytest.mark.parametrize(
    ("changes", "part"),
    [
        ({"steps": -1}, "steps=-1; "),
        ({"accumulation": 0}, "accumulation=0; "),
        (
            {"attention_weight": 0.0, "match": "attention"},
            "attention_weight=0.0 with match=attention; ",
        ),
        ({"learning_rate": 0.0}, "learning_rate=0.0; "),
        ({"ema_decay": 1.0}, "ema_decay=1.0; "),
        ({"solve_batches": -1}, "solve_batches=-1; "),
    ],
)
def test_a_training_that_cannot_be_is_refused_when_made(changes: dict, part: str) -> None:
    with pytest.raises(ValueError, match=part):
        Training(**changes)


def test_what_is_matched_adds_up() -> None:
    sites = [Site()]

    def kinds(**given: object) -> list[type]:
        return [type(one) for one in objectives(Training(**given), sites)]  # type: ignore[arg-type]

    assert kinds() == [AttentionOutputs]
    assert kinds(match="outputs") == [AttentionOutputs, Depth, Pose]
    assert kinds(match="outputs", attention_weight=0.0) == [Depth, Pose]
    assert kinds(match="cameras") == [AttentionOutputs, CameraTokens, Depth, Pose]
    assert kinds(match="tokens") == [Features, CameraTokens]
    assert all(one.loss == "distance" for one in objectives(Training(match="tokens"), sites))
    tokens = objectives(Training(match="cameras"), sites)[1]
    assert isinstance(tokens, CameraTokens)
    assert [pair.student for pair in tokens.pairs] == ["block"]


def test_projections_are_solved_for_and_nothing_else_moves() -> None:
    teacher, student = network(1.0), network(0.25)
    train_only(student, "proj")
    way = Training(steps=0, solve_batches=2)
    found = teach(
        student, teacher, BATCHES, way, trainable="proj", sites=[Site()], forward=run, seed=0
    )
    assert found is None
    learned = student.get_parameter("block.attn.core.proj_l.weight")
    assert (learned - 0.75 * torch.eye(4)).norm() < 0.5 * torch.eye(4).norm()
    assert torch.equal(
        student.get_parameter("block.attn.proj.weight"),
        teacher.get_parameter("block.attn.proj.weight"),
    )


def test_steps_bring_the_student_nearer() -> None:
    teacher, student = network(1.0), network(0.25)
    train_only(student, "proj")
    way = Training(steps=30, learning_rate=0.05)
    result = teach(
        student, teacher, BATCHES, way, trainable="proj", sites=[Site()], forward=run, seed=0
    )
    assert result is not None
    first = result.history[0]["losses"]["loss"]
    assert result.losses["loss"] < 0.5 * first


def test_a_run_that_was_begun_with_other_scenes_solved_on_is_refused(tmp_path: Path) -> None:
    def go(folder: Path, solved: int | None) -> None:
        teacher, student = network(1.0), network(0.25)
        train_only(student, "proj")
        way = Training(steps=2, solve_batches=solved)
        teach(
            student, teacher, BATCHES, way, trainable="proj", sites=[Site()], forward=run,
            directory=folder,
        )  # fmt: skip

    for begun, other, words in (
        (2, 3, "2 in the run, 3 now"),
        (2, None, "2 in the run, 'absent' now"),
        (0, 2, "'absent' in the run, 2 now"),
    ):
        go(tmp_path / str(begun), begun)
        with pytest.raises(ValueError, match=f"config.solve_batches: {words}"):
            go(tmp_path / str(begun), other)
    go(tmp_path / "0", None)


@dataclass
class Same:
    """One batch, again and again."""

    batch: Tensor | dict[str, Tensor]

    def at(self, index: int) -> Tensor | dict[str, Tensor]:
        return self.batch


def test_batches_are_what_the_forward_takes_and_images_are_counted_where_they_are_some() -> None:
    images, counted = torch.rand(1, 3, 4, 2, 2), []
    for batch in (images, {"images": images}, images.flatten(2)):
        teacher, student = network(1.0), network(0.25)
        train_only(student, "proj")

        def forward(model: nn.Module, given: Tensor | dict[str, Tensor]) -> dict[str, Tensor]:
            found = given["images"] if isinstance(given, dict) else given
            return run(model, found.reshape(1, 3, 4, 2, 2))

        way, made = Training(steps=1, solve_batches=1), Same(batch)
        result = teach(
            student, teacher, made, way, trainable="proj", sites=[Site()], forward=forward
        )
        assert result is not None
        counted.append(result.history[0]["images"])
    assert counted == [3, 0, 0]


class Scaled(nn.Module):
    """A block: attention with a gain for each channel behind it."""

    def __init__(self, share: float) -> None:
        super().__init__()
        self.attn = Attention(share)
        self.gain = nn.Parameter(torch.ones(4))

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.gain * self.attn(x)
        return found


def test_gains_learn_from_the_tokens_behind_their_blocks_and_no_matrix_moves() -> None:
    torch.manual_seed(0)
    teacher, student = nn.Module(), nn.Module()
    teacher.add_module("block", Scaled(1.0))
    student.add_module("block", Scaled(0.5))
    student.load_state_dict(teacher.state_dict())

    def tokens(model: nn.Module, images: Tensor) -> Tensor:
        found: Tensor = model.get_submodule("block")(images.movedim(2, -1).flatten(1, 3))
        return found

    before = {name: p.clone() for name, p in student.named_parameters()}
    train_only(student, "gains", sites=["block.attn"])
    way = Training(steps=60, learning_rate=0.05)
    result = teach(
        student, teacher, BATCHES, way, trainable="gains", sites=[Site()], forward=tokens, seed=0
    )
    assert result is not None and result.averaged
    assert set(result.history[0]["losses"]) == {"features", "camera_tokens", "loss"}
    assert result.losses["loss"] < 0.5 * result.history[0]["losses"]["loss"]
    moved = {n for n, p in student.named_parameters() if not torch.equal(p, before[n])}
    assert "block.gain" in moved and not any(n.endswith("weight") for n in moved)
