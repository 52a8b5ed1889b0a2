"""The camera tokens as a target of their own: these tokens alone, in either layout."""

import copy

import pytest
import torch
from torch import nn

from distill import CameraTokens, Depth, DistillConfig, Observation, Pair, distill, freeze_except
from distill.objectives.camera_tokens import first_tokens

PAIR = Pair(teacher="tail", student="tail")
IMAGES = torch.zeros(2, 3, 3, 8, 8)


def seen(student, teacher, batch=IMAGES):
    return Observation(
        batch=batch,
        outputs=None,
        student={PAIR.student_tap: [student]},
        teacher={PAIR.teacher_tap: [teacher]},
        student_fields={},
        teacher_fields={},
    )


@pytest.mark.parametrize("shape", [(2, 15, 4), (6, 5, 4)], ids=["b (v n) c", "(b v) n c"])
def test_only_the_first_tokens_of_every_view_count(shape):
    teacher = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    student = teacher.clone().requires_grad_()
    objective = CameraTokens(pairs=(PAIR,), tokens=2, loss="mse")
    loss = objective(seen(student, teacher))
    loss.backward()
    assert loss.item() == 0.0 and (student.grad == 0).all()
    by_view = (teacher + 1).view(6, 5, 4).clone()
    by_view[:, 2:] += 100  # patches, which do not count
    assert objective(seen(by_view.view(shape), teacher)) == pytest.approx(1.0)
    assert torch.equal(first_tokens(teacher, 6, 2), teacher.view(6, 5, 4)[:, :2])


def test_what_is_no_set_of_views_is_refused():
    tokens = torch.randn(2, 15, 4)
    objective = CameraTokens(pairs=(PAIR,))
    with pytest.raises(ValueError, match=r"tokens=\(2, 14, 4\); 6 views need equally many"):
        objective(seen(tokens[:, :14], tokens[:, :14]))
    with pytest.raises(ValueError, match=r"batch=dict; images `b v 3 y x` are needed"):
        objective(seen(tokens, tokens, batch={}))
    with pytest.raises(ValueError, match="tokens=0; at least one"):
        CameraTokens(tokens=0)


class Views(nn.Module):
    """Images `b v 3 y x` to tokens, through one attention-like layer, to depth and cameras."""

    def __init__(self):
        super().__init__()
        self.embed, self.mix = nn.Linear(3, 8), nn.Linear(8, 8)
        self.depth = nn.Linear(8, 1)

    def forward(self, images):
        b, v = images.shape[:2]
        tokens = images.flatten(3).transpose(2, 3).reshape(b, -1, 3)
        tokens = self.mix(self.embed(tokens)).tanh()
        return {"depth": self.depth(tokens).exp(), "views": v}


def test_attention_camera_tokens_and_final_outputs_mix_by_weight():
    torch.manual_seed(0)
    teacher = Views()
    student = copy.deepcopy(teacher)
    with torch.no_grad():
        student.mix.weight *= 0.5
    freeze_except(student, "mix.*")
    objectives = [CameraTokens(weight=3.0), Depth(confidence=None, weight=0.5)]
    result = distill(
        student,
        teacher,
        [torch.randn(2, 3, 3, 4, 4) for _ in range(3)],
        pairs=[Pair(teacher="mix", student="mix")],
        objectives=objectives,
        config=DistillConfig(steps=120, learning_rate=1e-2),
    )
    first = result.history[0]["losses"]
    assert first["loss"] == pytest.approx(3 * first["camera_tokens"] + 0.5 * first["depth"])
    assert result.losses["camera_tokens"] < 0.1 * first["camera_tokens"]
