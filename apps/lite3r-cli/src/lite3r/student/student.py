"""A light student as a value: the backbone it became, the recipe, and the teacher it is from."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

import distill
from fp8_qat import fixed_codes
from lite3r.shell import atomic
from lite3r.shell.environment import versions
from lite3r.student.files import ADAPTER, CONFIG, DEPLOYED, FORMAT, read_config
from lite3r.student.recipes import Recipe
from recon_backbones import Backbone, Prediction, list_backbones, load_backbone
from recon_backbones.photos import load_batch
from recon_backbones.registry import backbone_entry
from sla_kernels import stored_calibration


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
                f"{backbone.name} was not loaded by load_backbone; where its weights come "
                "from is not known: give its TeacherSpec"
            )
        seed = source.seed or 0
        weights = source.location if source.kind == "file" else source.kind
        return cls(backbone=backbone.name, weights=weights, seed=seed)

    @classmethod
    def chosen(cls, backbone: str | None, weights: str | None, seed: int) -> "TeacherSpec":
        """The backbone (da3-tiny if None) with its usual weights unless somebody says otherwise."""
        backbone = backbone or "da3-tiny"
        ships = backbone in list_backbones() and backbone_entry(backbone).bundled
        return cls(backbone=backbone, weights=weights or ("bundled" if ships else "hub"), seed=seed)

    def load(self, *, device: str = "cpu") -> Backbone:
        """Load the dense backbone. Raises ValueError as `load_backbone` does."""
        return load_backbone(self.backbone, weights=self.weights, seed=self.seed, device=device)


@dataclass(frozen=True, kw_only=True)
class Deployment:
    """How a student computes once it is deployed.

    - `backend`: what multiplies the FP8 layers; "none" without any.
    - `precision`: the number type of everything else.
    - `layers`: how many layers hold FP8.
    """

    backend: str
    precision: str
    layers: int

    def __str__(self) -> str:
        fp8 = f"FP8 by {self.backend} in {self.layers} layers, " if self.layers else ""
        return f"{fp8}{self.precision}"


@dataclass(frozen=True, kw_only=True)
class Student:
    """A light backbone and what it was made from.

    - `backbone`: the dense architecture with sparse linear attention and FP8 linear layers.
    - `weights_sha256`: digest of the teacher's weights, see `weights_digest`.
    - `deployment`: how it computes; None for the form that trains.
    """

    backbone: Backbone
    recipe: Recipe
    teacher: TeacherSpec
    weights_sha256: str
    deployment: Deployment | None = None

    def trained(self) -> dict[str, Tensor]:
        """The parameters that the recipe trains, by name."""
        return {n: p for n, p in self.backbone.named_parameters() if p.requires_grad}

    def kept(self) -> dict[str, Tensor]:
        """What a saved student holds: the trained parameters, and what it was calibrated to."""
        codes = fixed_codes(self.backbone) if self.recipe.observes else {}
        return self.trained() | stored_calibration(self.backbone) | codes

    def reconstruct(
        self, images: Sequence[str | Path] | Float[Tensor, "v 3 y x"], *, size: int = 224
    ) -> Prediction:
        """Depth and cameras of photos of one scene, as a `Prediction` with one scene.

        - `images`: files, brought to `size` pixels on the longer side, or a tensor in [0, 1].
        """
        if not isinstance(images, Tensor):
            images = load_batch(images, self.backbone, size).images[0]
        device = next(self.backbone.parameters()).device
        with torch.inference_mode():
            return self.backbone(images[None].to(device))

    def save(self, folder: str | Path) -> None:
        """Write `config.json` and `adapter.safetensors`; each is whole or not there.

        Raises ValueError for a deployed student, which `lite3r.student.deploy.export` writes.
        """
        if self.deployment is not None:
            raise ValueError(
                f"deployment={self.deployment}; a student is saved in the form that trains: "
                "use lite3r.student.deploy.export, or load it with backend=None"
            )
        distill.save_adapter(Path(folder) / ADAPTER, self.kept(), {"format": FORMAT})
        (Path(folder) / DEPLOYED).unlink(missing_ok=True)  # of the student before: it would load
        atomic.write_json(Path(folder) / CONFIG, self.config())

    def config(self) -> dict[str, Any]:
        """What `config.json` holds."""
        return {
            "format": FORMAT,
            "teacher": asdict(self.teacher) | {"sha256": self.weights_sha256},
            "recipe": self.recipe.to_dict(),
            "versions": versions(),
        }


def described(folder: Path, config: Mapping[str, Any]) -> tuple[TeacherSpec, str, Recipe]:
    """The teacher, the digest of its weights and the recipe that a `config.json` names.

    Raises ValueError for one that is not whole.
    """
    try:
        dict(config["versions"])
        spec = dict(config["teacher"])
        digest = str(spec.pop("sha256"))
        teacher, recipe = TeacherSpec(**spec), Recipe.from_dict(config["recipe"])
    except (ValueError, TypeError, LookupError, AttributeError) as error:
        raise ValueError(
            f"{folder / CONFIG} describes no student ({error}); it must be whole: copy or "
            "distill it again"
        ) from error
    if [type(value) for value in vars(teacher).values()] != [str, str, int]:
        raise ValueError(f"{folder / CONFIG}: teacher={spec}; it must be text: copy it again")
    return teacher, digest, recipe


def check_backbone(folder: str | Path, backbone: str | None) -> None:
    """Raise ValueError where a folder's student is of another backbone than the one named."""
    own = described(Path(folder), read_config(Path(folder)))[0].backbone
    if backbone not in (None, own):
        raise ValueError(
            f"backbone={backbone}; {folder} is a student of {own}, and runs as such: leave it out"
        )
