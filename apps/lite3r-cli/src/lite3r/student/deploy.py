"""What a user runs: a student loaded from its folder and brought into its deployed form."""

from dataclasses import dataclass, replace
from pathlib import Path

import torch

import distill
import fp8_qat
import sla_kernels
from fp8_qat import multiplies_bfloat16
from lite3r.shell import atomic
from lite3r.student.compose import sparsify, unread
from lite3r.student.files import ADAPTER, CONFIG, DEPLOYED, read_config
from lite3r.student.kinds import Backend, Precision
from lite3r.student.recipes import Recipe
from lite3r.student.student import Deployment, Student, TeacherSpec, check_backbone, described
from recon_backbones import Backbone, build_on_meta, half_type, steps_before_layers
from recon_backbones.checks import check_there
from sla_kernels import change_dtype

FIRST_HALF = (7, 0)  # compute capability from which GPUs multiply 16 bits
NO_FP8 = ("mps",)  # devices on which no FP8 number can lie
PLAIN = "multiplied back"  # instead of a backend, where no FP8 can lie
TYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def load(
    folder: str | Path,
    *,
    device: str = "cpu",
    weights: str | Path | None = None,
    backend: Backend | None = "auto",
    precision: Precision = "auto",
) -> Student:
    """Load a student that `Student.save` or `export` wrote, strictly, and deploy it.

    - `weights`: the teacher's weights, when they are no longer where they were; an exported
      student needs none.
    - `backend`, `precision`: as `deploy` takes them; backend None leaves a saved student in the
      form that trains.

    Raises ValueError when a file is missing, damaged or of another model, naming what differs,
    for a device that is not there, for a backend that cannot run the student, and for weights
    beside an exported one.
    """
    check_there(device)
    folder = Path(folder)
    config = read_config(folder)
    teacher, digest, recipe = described(folder, config)
    if (folder / DEPLOYED).is_file():
        if weights is not None:
            raise ValueError(
                f"weights={weights}; {folder} was exported and holds its own: leave weights out"
            )
        return _load_exported(
            folder / DEPLOYED, recipe, teacher, digest, device, backend or "auto", precision
        )
    if weights is not None:
        teacher = replace(teacher, weights=str(weights))
    home = device if backend is None else _home(device)
    student = unread(teacher.load(device=home), recipe, teacher)
    if student.weights_sha256 != digest:
        raise ValueError(
            f"{folder} was distilled from other weights of {teacher.backbone} (sha256 "
            f"{digest[:12]}) than those at {teacher.weights!r} "
            f"({student.weights_sha256[:12]}); they must be the same: give the right ones "
            "with weights="
        )
    distill.load_adapter(folder / ADAPTER, student.kept())
    if backend is None:
        return student
    return deploy(student, backend=backend, precision=precision, device=torch.device(device))


def deploy(
    student: Student,
    *,
    backend: Backend = "auto",
    precision: Precision = "auto",
    device: torch.device | None = None,
) -> Student:
    """Bring a student into the form that runs, in place; low-rank updates join their weights.

    - `backend`: "auto" multiplies FP8 where the device does, and elsewhere keeps FP8 as stored
      weights ("weight_only"), and attends every key where few tokens make that sooner;
      "reference" computes, bit for bit, what training computed.
    - `precision`: "auto" is the 16-bit type that the device multiplies (bfloat16; float16 on
      GPUs before sm_80 and on Apple's), and float32 where it multiplies none.
    - `device`: where it will run, its own unless given.

    Where no FP8 number can lie (Apple's GPUs) its values are multiplied back once, into plain
    layers: the same answers as of "weight_only", in two or four bytes.

    Raises ValueError for a student that is deployed already, and for a backend that cannot run it.
    """
    if student.deployment is not None:
        raise ValueError(f"deployment={student.deployment}; it is deployed once: load it again")
    backbone = student.backbone
    device = device or next(backbone.parameters()).device
    backend = _able(backend, device)
    if student.recipe.trainable == "lora":
        distill.merge_lora(backbone)
    dtype, report = number_type(precision, device), None
    if student.recipe.fp8 != "none":  # before weights are cast: codes are those of training
        with torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
            report = fp8_qat.convert(backbone, backend=backend)
    if dtype != torch.float32:
        change_dtype(backbone, dtype)
    used, layers = "none", 0
    if report is not None:
        stored = device.type not in NO_FP8
        used, layers = report.backend if stored else PLAIN, len(report.layers)
        if report.backend == "scaled_mm":
            join_steps(backbone, report)
        if not stored:
            backbone = fp8_qat.dequantized(backbone)
    _answer_soon(backbone.to(device), backend, device)
    return replace(student, backbone=backbone, deployment=_deployment(used, dtype, layers))


def _able(backend: Backend, device: torch.device) -> Backend:
    """The backend asked for; "auto" on what multiplies no FP8 is "weight_only", which multiplies in
    the number type of the rest. Raises ValueError where a device cannot hold what it multiplies."""
    if backend == "auto":
        return "auto" if device.type == "cuda" else "weight_only"
    if device.type not in NO_FP8:
        return backend
    raise ValueError(
        f"backend={backend}; it must be auto on {device.type}, where no FP8 number can lie: leave "
        "it out, and weights are multiplied back once"
    )


def _answer_soon(backbone: Backbone, backend: Backend, device: torch.device) -> None:
    """Attend every key where that is sooner, but for what must compute what training did."""
    if backend != "reference":
        sla_kernels.attend_all_below(backbone, sla_kernels.short_on(device))


def join_steps(backbone: Backbone, report: fp8_qat.Report) -> None:
    """Let deployed layers do the norm or activation before them as they quantize."""
    deployed = {layer.name for layer in report.layers}
    fp8_qat.fuse(backbone, [pair for pair in steps_before_layers(backbone) if pair[1] in deployed])


def _home(device: str) -> str:
    """Where a student is put together that is to run on a device."""
    return "cpu" if torch.device(device).type in NO_FP8 else device


def export(student: Student, folder: str | Path) -> fp8_qat.Report:
    """Write a folder that loads without the teacher, FP8 as FP8; the student is deployed by it.

    Returns what `fp8_qat.convert` did to every layer. Raises ValueError for a student
    without FP8 layers, and one that is deployed already.
    """
    if student.deployment is not None:
        raise ValueError(
            f"deployment={student.deployment}; an export needs the form that trains: give the "
            "folder of the run that it is from, in Python loaded with backend=None"
        )
    if student.recipe.fp8 == "none":
        raise ValueError(
            "fp8=none; an export holds FP8 weights: distill with a recipe that has some, as "
            "--fp8 rowwise"
        )
    folder = Path(folder)
    if student.recipe.trainable == "lora":
        distill.merge_lora(student.backbone)
    report = fp8_qat.convert(student.backbone, backend="reference")
    with atomic.new_file(folder / DEPLOYED) as partial:
        fp8_qat.save_fp8(student.backbone, partial)
    atomic.write_json(folder / CONFIG, student.config())
    return report


def multiplies_half(device: torch.device) -> bool:
    """Whether a device has instructions for products of the 16-bit type that suits it."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= FIRST_HALF
    return device.type == "mps" or multiplies_bfloat16(device)


def number_type(precision: Precision, device: torch.device) -> torch.dtype:
    """The number type that a precision means on a device. Raises ValueError for another word."""
    if precision == "auto":
        return half_type(device) if multiplies_half(device) else torch.float32
    if precision not in TYPES:
        raise ValueError(f"precision={precision}; it must be known: auto, {', '.join(TYPES)}")
    return TYPES[precision]


def _load_exported(
    path: Path,
    recipe: Recipe,
    spec: TeacherSpec,
    digest: str,
    device: str,
    backend: Backend,
    precision: Precision,
) -> Student:
    """Build a student around weights that `export` wrote."""
    where, stored = torch.device(device), torch.device(device).type not in NO_FP8
    backbone = build_on_meta(spec.backbone)
    sparsify(backbone, recipe)
    dtype = number_type(precision, where)
    change_dtype(backbone, dtype)
    backbone.to_empty(device=_home(device))  # the file gives every tensor, or is refused
    report = fp8_qat.load_fp8(backbone, path, backend=_able(backend, where))
    if report.backend == "scaled_mm":
        join_steps(backbone, report)
    if not stored:
        backbone = fp8_qat.dequantized(backbone).to(where)
    _answer_soon(backbone.requires_grad_(False).eval(), backend, where)
    return Student(
        backbone=backbone,
        recipe=recipe,
        teacher=spec,
        weights_sha256=digest,
        deployment=_deployment(report.backend if stored else PLAIN, dtype, len(report.layers)),
    )


def _deployment(backend: str, dtype: torch.dtype, layers: int) -> Deployment:
    return Deployment(backend=backend, precision=str(dtype).removeprefix("torch."), layers=layers)


@dataclass(frozen=True, kw_only=True)
class Loaded:
    """A model that a command was asked to run.

    - `name`: what people call it; `ran`: how it computes.
    - `student`: whether it is a light one.
    """

    backbone: Backbone
    name: str
    ran: str
    student: bool


def load_model(
    model: str,
    *,
    backbone: str | None,
    weights: str | None,
    seed: int,
    device: str,
    backend: Backend = "auto",
    precision: Precision = "auto",
) -> Loaded:
    """A deployed student from its folder, or the dense backbone for "teacher".

    Raises ValueError for what cannot be loaded, for a backend beside a teacher, and for another
    backbone than its own beside a student.
    """
    if model != "teacher":
        check_backbone(model, backbone)
        student = load(model, device=device, weights=weights, backend=backend, precision=precision)
        ran = str(student.deployment)
        return Loaded(backbone=student.backbone, name=f"student {model}", ran=ran, student=True)
    if backend != "auto":
        raise ValueError(f"backend={backend}; a teacher has no FP8 layers: give a student's folder")
    dense = TeacherSpec.chosen(backbone, weights, seed).load(device=device)
    dtype = TYPES.get(precision, torch.float32)
    ran = str(dtype).removeprefix("torch.")
    return Loaded(backbone=dense.to(dtype), name=dense.name, ran=ran, student=False)
