"""A light student: the backbone it became, the recipe, and the folder it is kept in.

    config.json           backbone, digest of the teacher's weights, recipe, versions
    adapter.safetensors   only what distillation changed
    model.safetensors     instead, for a deployed student: all weights, FP8 as FP8

With an adapter, loading needs the teacher's weights and checks that they are the same ones.
"""

import hashlib
import json
import platform
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from recon_backbones import Backbone, Prediction, load_backbone
from recon_backbones.photos import load_batch

from . import atomic
from .recipes import Recipe

FORMAT = "lite3r-student/1"
CONFIG, ADAPTER, DEPLOYED = "config.json", "adapter.safetensors", "model.safetensors"
PACKAGES = (
    "lite3r-cli",
    "sla-kernels",
    "fp8-qat",
    "distill",
    "recon-backbones",
    "recon-eval",
    "torch",
    "numpy",
)


@dataclass(frozen=True, kw_only=True)
class TeacherSpec:
    """Which dense backbone, and where its weights come from (as `load_backbone` takes them)."""

    backbone: str
    weights: str
    seed: int = 0

    @classmethod
    def of(cls, backbone: Backbone) -> "TeacherSpec":
        """Where a loaded backbone came from."""
        source = backbone.weights
        if source is None:
            raise ValueError(
                f"{backbone.name} was not loaded by load_backbone; give its TeacherSpec"
            )
        seed = source.seed or 0
        weights = source.location if source.kind == "file" else source.kind
        return cls(backbone=backbone.name, weights=weights, seed=seed)

    def load(self, *, device: str = "cpu") -> Backbone:
        """Load the dense backbone. Raises ValueError as `load_backbone` does."""
        return load_backbone(self.backbone, weights=self.weights, seed=self.seed, device=device)


def default_weights(backbone: str) -> str:
    """Where the weights of a backbone come from unless somebody says otherwise."""
    return "bundled" if backbone == "da3-tiny" else "hub"


@dataclass(frozen=True, kw_only=True)
class Student:
    """A light backbone and what it was made from.

    backbone: the dense architecture with sparse linear attention and FP8 linear layers.
    weights_sha256: digest of the teacher's weights, see `weights_digest`.
    handle: what fp8_qat says of every linear layer; None without FP8.
    """

    backbone: Backbone
    recipe: Recipe
    teacher: TeacherSpec
    weights_sha256: str
    handle: Any = None

    def trained(self) -> dict[str, Tensor]:
        """The parameters that the recipe trains, by name."""
        return {n: p for n, p in self.backbone.named_parameters() if p.requires_grad}

    def reconstruct(
        self, images: Sequence[str | Path] | Float[Tensor, "v 3 y x"], *, size: int = 224
    ) -> Prediction:
        """Depth and cameras of photos of one scene, as a `Prediction` with one scene.

        images: files, brought to `size` pixels on the longer side, or a tensor in [0, 1].
        """
        if not isinstance(images, Tensor):
            images = load_batch(images, self.backbone, size).images[0]
        device = next(self.backbone.parameters()).device
        with torch.inference_mode():
            return self.backbone(images[None].to(device))

    def save(self, folder: str | Path) -> None:
        """Write `config.json` and `adapter.safetensors`; each is whole or not there."""
        folder = Path(folder)
        trained = {n: p.detach().cpu().contiguous() for n, p in self.trained().items()}
        with atomic.new_file(folder / ADAPTER) as partial:
            save_file(trained, partial, metadata={"format": FORMAT})
        atomic.write_json(folder / CONFIG, self.config())

    def export(self, folder: str | Path, *, backend: str = "reference") -> Any:
        """Deploy the FP8 layers, in place, and write a folder that loads without the teacher.

        Returns what `fp8_qat.convert` did to every layer. Raises ValueError for a student
        without FP8 layers.
        """
        from .compose import deploy, write_deployed

        folder = Path(folder)
        report = deploy(self, backend=backend)
        write_deployed(self, folder / DEPLOYED)
        atomic.write_json(folder / CONFIG, self.config())
        return report

    def config(self) -> dict[str, Any]:
        """What `config.json` holds."""
        return {
            "format": FORMAT,
            "teacher": asdict(self.teacher) | {"sha256": self.weights_sha256},
            "recipe": self.recipe.to_dict(),
            "versions": versions(),
        }


def load(
    folder: str | Path,
    *,
    device: str = "cpu",
    weights: str | Path | None = None,
    backend: str = "reference",
) -> Student:
    """Load a student that `Student.save` or `Student.export` wrote, strictly.

    weights: the teacher's weights, when they are no longer where they were.
    backend: what multiplies the FP8 layers of a deployed student.
    Raises ValueError when a file is missing, damaged or of another model, naming what differs.
    """
    folder = Path(folder)
    config = read_config(folder / CONFIG)
    spec = {k: v for k, v in config["teacher"].items() if k != "sha256"}
    if weights is not None:
        spec["weights"] = str(weights)
    teacher, recipe = TeacherSpec(**spec), Recipe.from_dict(config["recipe"])
    from .compose import lighten, read_deployed

    if (folder / DEPLOYED).is_file():
        digest = config["teacher"]["sha256"]
        return read_deployed(
            folder / DEPLOYED, recipe, teacher, digest, device=device, backend=backend
        )
    student = lighten(teacher.load(device=device), recipe, teacher)
    if student.weights_sha256 != config["teacher"]["sha256"]:
        raise ValueError(
            f"{folder} was distilled from other weights of {teacher.backbone} (sha256 "
            f"{config['teacher']['sha256'][:12]}) than those at {teacher.weights!r} "
            f"({student.weights_sha256[:12]}); give the right ones with weights="
        )
    load_adapter(student, folder / ADAPTER)
    return student


def load_adapter(student: Student, path: Path) -> None:
    """Put trained values into a student.

    Raises ValueError when the file is missing, damaged, or holds other names or shapes.
    """
    if not path.is_file():
        raise ValueError(f"{path} does not exist; a student has {CONFIG} and {ADAPTER}")
    try:
        values = load_file(path)
    except SafetensorError as error:
        raise ValueError(f"{path} is damaged ({error}); copy or distil it again") from error
    own = student.trained()
    wrong = [n for n in own.keys() & values.keys() if own[n].shape != values[n].shape]
    missing, unknown = sorted(own.keys() - values.keys()), sorted(values.keys() - own.keys())
    if missing or unknown or wrong:
        raise ValueError(
            f"{path} is an adapter of another model: {_some('missing', missing)}, "
            f"{_some('unknown', unknown)}, {_some('of another shape', sorted(wrong))}"
        )
    with torch.no_grad():
        for name, value in values.items():
            own[name].copy_(value)


def weights_digest(backbone: Backbone) -> str:
    """SHA-256 over the names, shapes and bytes of a backbone's weights, in order of names."""
    digest = hashlib.sha256()
    for name, value in sorted(backbone.state_dict().items()):
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}\n".encode())
        data = value.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
        digest.update(memoryview(data.numpy()))
    return digest.hexdigest()


def versions() -> dict[str, str]:
    """Versions of what took part."""
    return {name: version(name) for name in PACKAGES} | {"python": platform.python_version()}


def read_config(path: Path) -> dict[str, Any]:
    """Read a student's `config.json`. Raises ValueError when it is missing or damaged."""
    if not path.is_file():
        raise ValueError(f"{path.parent} holds no student: {path.name} is missing")
    try:
        config: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is damaged ({error})") from error
    if not isinstance(config, dict) or config.get("format") != FORMAT:
        raise ValueError(f"{path} is not of format {FORMAT}")
    return config


def _some(what: str, names: list[str]) -> str:
    if not names:
        return f"none {what}"
    return f"{len(names)} {what} ({', '.join(names[:3])}{', ...' if len(names) > 3 else ''})"
