"""A backbone as a program: the same depth, one shape, and refusals for what is no such file."""

import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from recon_backbones import DenseAttention, InputError, replace_attention
from recon_backbones import program as programs
from recon_backbones.program import Shape, load_program, write_program

from .short import short

SHAPE = Shape(views=2, height=28, width=42)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("program") / "folder" / "program.pt2"
    strays = write_program(path, short("da3-tiny"), SHAPE, {"name": "da3-tiny"})
    assert 0 <= strays <= programs.LARGEST_DIFFERENCE
    assert [p.name for p in path.parent.iterdir()] == ["program.pt2"]
    return path


def test_a_program_answers_as_its_backbone_does(written: Path) -> None:
    program, images = load_program(written), torch.rand(2, 3, 28, 42)
    with torch.no_grad():
        expected = short("da3-tiny")(images[None])
    found = program(images)
    for name in programs.FIELDS:
        torch.testing.assert_close(
            getattr(found, name), getattr(expected, name), atol=1e-4, rtol=1e-3
        )
    assert program.shape == SHAPE
    assert program.facts["name"] == "da3-tiny" and program.facts["format"] == programs.FORMAT


def test_a_backbone_in_training_trains_on_after_it(tmp_path: Path) -> None:
    backbone = short("da3-tiny").train()
    backbone.get_submodule("model.cam_enc").eval()
    before = [part.training for part in backbone.modules()]
    write_program(tmp_path / "program.pt2", backbone, SHAPE, {})
    assert [part.training for part in backbone.modules()] == before


def test_of_a_link_what_it_leads_to_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, written: Path
) -> None:
    traced, link = torch.export.load(written), tmp_path / "link.pt2"
    link.symlink_to("disk/program.pt2")
    monkeypatch.setattr(torch.export, "export", lambda *given, **named: traced)
    write_program(link, short("da3-tiny"), SHAPE, {})
    assert link.is_symlink()
    assert load_program(tmp_path / "disk" / "program.pt2").shape == SHAPE


def test_a_program_takes_images_of_its_own_shape_alone(written: Path) -> None:
    with pytest.raises(ValueError, match="this program takes 2 views of 42 x 28 pixels"):
        load_program(written)(torch.rand(3, 3, 28, 42))


def test_images_that_a_backbone_refuses_are_refused(written: Path) -> None:
    program, images = load_program(written), torch.rand(2, 3, 28, 42)
    for wrong in (images * 255, images + float("nan")):
        with pytest.raises(ValueError, match=r"images range over .*finite, in \[0, 1\]"):
            program(wrong)
    # Where types are enforced they speak first, with a TypeError of their own.
    with pytest.raises((ValueError, TypeError), match=r"images are torch.uint8; they must|Float"):
        program((images * 255).byte())
    with pytest.raises(ValueError, match="images=tensor on meta; it must be on cpu, as the prog"):
        program(images.to("meta"))


def test_images_may_be_of_another_type_than_the_weights(written: Path, tmp_path: Path) -> None:
    images, half = torch.rand(2, 3, 28, 42), tmp_path / "half.pt2"
    write_program(half, short("da3-tiny").to(torch.bfloat16), SHAPE, {})
    for path, other in ((written, torch.float64), (half, torch.float32)):
        program = load_program(path)
        like = program(images.to(torch.bfloat16 if path == half else torch.float32))
        torch.testing.assert_close(program(images.to(other)).depth, like.depth)


def test_a_shape_has_at_least_one_of_everything() -> None:
    with pytest.raises(InputError, match="views=0; it must be at least 1"):
        Shape(views=0, height=28, width=28)


def test_a_program_that_strays_is_not_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, written: Path
) -> None:
    traced, other = torch.export.load(written), short("da3-tiny")  # of other weights
    with torch.no_grad():
        other.get_submodule("model.head.scratch.output_conv2.2").get_parameter("bias").add_(0.01)
    monkeypatch.setattr(torch.export, "export", lambda *given, **named: traced)
    with pytest.raises(ValueError, match=r"strays by 0.0\d* of the median depth.* 0.001 is allow"):
        write_program(tmp_path / "program.pt2", other, SHAPE, {})
    assert not list(tmp_path.iterdir())


class Choosy(DenseAttention):
    """Attention that answers otherwise for another last digit, as one that chooses its keys."""

    def forward(self, q: Tensor, k: Tensor, v: Tensor, *, pinned: Tensor | None = None) -> Tensor:
        """Attend, and add what the digits of the queries say."""
        return super().forward(q, k, v) + 0.05 * torch.sin(1e8 * q.mean())


def test_what_rounding_alone_changes_is_no_straying(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    backbone = short("da3-tiny")
    replace_attention(backbone, lambda site: Choosy())
    monkeypatch.setattr(programs, "LARGEST_DIFFERENCE", -1.0)
    assert write_program(tmp_path / "program.pt2", backbone, SHAPE, {}) >= 0


def archive(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("lite3r.json", "{}")


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda path: None, "is no file; it must be a program"),
        (lambda path: path.mkdir(), "is no file; it must be a program"),
        (lambda path: path.write_bytes(b"PK not really"), "is no program; it is no archive"),
        (archive, "is no program; "),
    ],
)
def test_what_is_no_program_is_refused(
    tmp_path: Path, make: Callable[[Path], object], said: str
) -> None:
    make(tmp_path / "a.pt2")
    with pytest.raises(ValueError, match=said):
        load_program(tmp_path / "a.pt2")
