"""Solve for projections instead of training them.

A sparse linear attention puts out, for every token t,

    o_t = s_t + W l_t + c

with s_t its sparse part, l_t its linear part (features), and W, c the projection `proj_l`. The
projection that brings it closest to the teacher's output a_t over all tokens of some batches,

    min over W, c of  sum_t |W l_t + c - y_t|^2 + r (|W|^2 + |c|^2),   y_t = a_t - s_t,

is a least-squares solution. With X the rows (l_t, 1), Y the rows y_t, and P = (W c)^T:

    (X^T X + r I) P = X^T Y,   r = ridge * mean(diag(X^T X)).

X^T X and X^T Y are sums over tokens: they are taken in float64, batch after batch, in every
process, and the solution needs no second pass. Neither does what is left of the error,

    |X P - Y|^2 = |Y|^2 - 2 <P, X^T Y> + <P, X^T X P>.

With `start="as_is"` the ridge draws to the layer as it was, W0 and c0, and not to zero, so that
scenes unlike those solved on are answered as before: P = P0 + D, with

    (X^T X + r I) D = X^T (Y - X P0).

s_t and l_t are not asked for by name: the module runs once with the layer at zero, which gives
s_t, and once with the layer at the identity, which gives s_t + l_t; a third run, with twice the
identity, shows that the output is affine in the layer. Training then starts from there.
"""

import math
from collections.abc import Callable, Sequence, Set
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, get_args

import torch
from einops import rearrange
from torch import Tensor, nn

from distill.batches import as_batches
from distill.observe.observer import Forward, call
from distill.observe.parts import left_whole
from distill.processes.world import World
from distill.record.names import find_module
from distill.record.pairs import Pair
from distill.record.recorder import PassEnded, Recorder
from distill.record.settings import check_choice, check_number
from distill.resume.rng import isolated_rng, seed_all
from distill.step.modes import own_modes_after
from distill.trainable.freeze import parameter_ids

Start = Literal["zero", "as_is"]


@dataclass(frozen=True, kw_only=True)
class Fit:
    """A linear layer to solve for, so that a module of the student puts out what its pair does.

    The module's output must be a base plus the layer applied to some features along the last
    axis: it is probed with the layer set to zero and to the identity.

    - `pair`: the module of the student that holds the layer, and the teacher's to match.
    - `layer`: dotted name of a square `nn.Linear` in the student.
    """

    pair: Pair
    layer: str


@dataclass(frozen=True, kw_only=True)
class FitResult:
    """How well one layer was fitted, over all tokens of the batches.

    - `layer`: its name.
    - `before`: mean squared difference from the teacher with the layer at its start, over the
      mean square of the teacher.
    - `after`: the same with the solution, for the inputs that it was solved on.
    """

    layer: str
    before: float
    after: float


def fit_projections(
    student: nn.Module,
    teacher: nn.Module,
    batches: Any,
    fits: Sequence[Fit],
    *,
    count: int,
    ridge: float = 1e-6,
    start: Start = "zero",
    seed: int = 0,
    forward: Forward = call,
) -> list[FitResult]:
    """Set linear layers of the student to their least-squares solutions, one after another.

    Each is solved on the inputs that the student has once the layers before it are solved;
    the forward passes for it end with its module.

    - `student`: changed in place: weight and bias of the layers.
    - `teacher`: runs without gradients; both run in evaluation mode, without dropout.
    - `batches`: as in `distill`, but not a plain iterable: they are read once a layer.
    - `fits`: the layers, in the order in which they run.
    - `count`: batches to solve on; processes of `torch.distributed` share them.
    - `ridge`: added to the squared features, as a share of their mean; draws to `start` what the
      data do not decide.
    - `start`: "zero", or "as_is" for layers that do something already.
    - `seed`: every batch is drawn with random generators seeded by this and its number.
    - `forward`: as in `distill`.

    Returns one result a layer.

    Raises ValueError if a module or layer does not exist or does not run, a layer is not square or
    the teacher's own, an output is not affine in its layer, not finite, or unlike the teacher's, a
    pair is of inputs, there are no fits, `count` is below 1, or `ridge` is negative or too small
    for what the batches leave open.
    """
    check_number("count", count, whole=True)
    check_number("ridge", ridge)
    check_choice("start", start, get_args(Start))
    if ridge < 0:
        raise ValueError(f"ridge={ridge}; it must be at least 0: give 1e-6 for hardly any")
    if count < 1 or not fits:
        raise ValueError(
            f"count={count}, fits={len(fits)} of them; both must be at least 1: give batches and "
            "layers"
        )
    source = as_batches(batches, seed=seed)
    theirs = parameter_ids(teacher)
    probes = [_Probe(student, fit, theirs) for fit in fits]
    with isolated_rng(), own_modes_after(student, teacher), torch.no_grad():
        student.eval()
        teacher.eval()
        for probe in probes:
            _collect(student, teacher, source.at, probe, count, seed, forward)
            probe.solve(ridge, start)
    return [probe.result for probe in probes]


class _Probe:
    """Collects the normal equations of one layer while the student runs."""

    def __init__(self, student: nn.Module, fit: Fit, theirs: Set[int]) -> None:
        self.fit = fit
        self.module = find_module(student, fit.pair.student, "student")
        layer = find_module(student, fit.layer, "student")
        if not isinstance(layer, nn.Linear) or layer.in_features != layer.out_features:
            raise ValueError(
                f"layer={fit.layer!r}; it must be a square linear layer, and is {layer}: name "
                "another"
            )
        if parameter_ids(layer) & theirs:
            raise ValueError(
                f"layer={fit.layer!r}; it is a layer of the teacher too, which would change with "
                "it: give a copy.deepcopy of the teacher"
            )
        if fit.pair.at != "output":
            raise ValueError(
                f"at={fit.pair.at!r} of the pair {fit.pair.student!r}; a layer is solved for by "
                "what modules put out: pair the modules whose outputs are to match"
            )
        self._layer, self.aims = layer, list[Tensor]()
        self.result = FitResult(layer=fit.layer, before=math.nan, after=math.nan)
        size = layer.in_features + 1
        self._squares, self._products, self._energies = (
            torch.zeros(shape, dtype=torch.float64, device="cpu")
            for shape in ((size, size), (size, size - 1), (2,))  # the last of target and teacher
        )
        self._checked = False

    def __call__(self, module: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
        base = self._output(0.0, args, kwargs)
        features = self._output(1.0, args, kwargs) - base
        if not self._checked:
            self._check(self._output(2.0, args, kwargs) - base, 2 * features)
        aim = self.aims.pop(0)
        if aim.shape != base.shape:
            raise self._unlike(tuple(aim.shape), tuple(base.shape))
        self._add(features, aim.to(base) - base, aim)
        if not self.aims:
            raise PassEnded

    def match(self, aims: list[Tensor], run: Callable[[], Any]) -> None:
        """Collect from a pass of the student, run by run of the module, what it is to put out."""
        self.aims = list(aims)
        with suppress(PassEnded):
            run()
        if 0 < len(self.aims) < len(aims):
            raise self._unlike(len(aims), len(aims) - len(self.aims))

    def _unlike(self, teacher: Any, student: Any) -> ValueError:
        pair = self.fit.pair
        return ValueError(
            f"teacher={pair.teacher!r}, student={pair.student!r}; their outputs must be alike, and "
            f"have shapes (or calls) {teacher} and {student}: pair modules that put out the same"
        )

    def _output(self, scale: float, args: Any, kwargs: Any) -> Tensor:
        """What the module puts out with the layer at `scale` times the identity."""
        layer = self._layer
        kept = layer.weight.clone(), None if layer.bias is None else layer.bias.clone()
        try:
            layer.weight.copy_(scale * torch.eye(layer.in_features, device=layer.weight.device))
            if layer.bias is not None:
                layer.bias.zero_()
            torch.clear_autocast_cache()  # which knows the layer as it was
            value = self.module.forward(*args, **kwargs)
            chosen = value if isinstance(value, Tensor) else value[self.fit.pair.item]
            return chosen.double()
        finally:
            layer.weight.copy_(kept[0])
            if kept[1] is not None:
                layer.bias.copy_(kept[1])
            torch.clear_autocast_cache()

    def _check(self, found: Tensor, expected: Tensor) -> None:
        self._checked = True
        error = (found - expected).abs().max() / expected.abs().max().clamp_min(1e-30)
        if error > 0.02:  # a probe in bfloat16 rounds by 0.004
            raise ValueError(
                f"student={self.fit.pair.student!r}; its output is not a base plus "
                f"{self.fit.layer!r} applied to features, doubling the layer errs by "
                f"{float(error):.2g}: name the module that adds this layer"
            )

    def _add(self, features: Tensor, target: Tensor, aim: Tensor) -> None:
        x = rearrange(features, "... c -> (...) c")
        x = torch.cat([x, torch.full_like(x[:, :1], float(self._layer.bias is not None))], 1)
        y = rearrange(target, "... c -> (...) c")
        self._squares += (x.T @ x).cpu()
        self._products += (x.T @ y).cpu()
        self._energies += torch.stack([y.square().sum(), aim.double().square().sum()]).cpu()

    def solve(self, ridge: float, start: Start) -> None:
        world = World.current()
        squares, products = world.sum(self._squares), world.sum(self._products)
        if not squares.diagonal()[:-1].sum():
            raise ValueError(
                f"student={self.fit.pair.student!r}; it did not run in the pass of the student, or "
                f"{self.fit.layer!r} changes nothing of it, so nothing can be solved for: leave it "
                "out, feed the input it needs, or merge a low-rank update first"
            )
        target, teacher = world.sum(self._energies).tolist()
        if not all(map(math.isfinite, (target, teacher, float(squares.sum())))):
            raise ValueError(
                f"student={self.fit.pair.student!r}; it and its teacher must put out finite "
                "numbers on all batches: leave out those that hold others"
            )
        damping = ridge * squares.diagonal().mean().clamp_min(1e-30)
        damped = squares + damping.expand(len(squares)).diag()
        begun = self._now() if start == "as_is" else torch.zeros_like(products)
        step, failed = torch.linalg.solve_ex(damped, products - squares @ begun)
        if failed:
            raise ValueError(
                f"ridge={ridge}; it must be positive, as the batches do not decide all of "
                f"{self.fit.layer!r}: give 1e-6, or more batches"
            )
        solution = begun + step
        self._layer.weight.copy_(solution[:-1].T)
        if self._layer.bias is not None:
            self._layer.bias.copy_(solution[-1])
        before, after = (
            max(0.0, target + float((p * (squares @ p - 2 * products)).sum())) / max(teacher, 1e-30)
            for p in (begun, solution)
        )
        self.result = FitResult(layer=self.fit.layer, before=before, after=after)

    def _now(self) -> Tensor:
        """The layer as it is, as a solution is written: its weight turned, its bias below."""
        weight, bias = self._layer.weight.detach(), self._layer.bias
        last = weight.new_zeros(len(weight)) if bias is None else bias.detach()
        return torch.cat([weight.T, last[None]]).double().cpu()


def _collect(
    student: nn.Module,
    teacher: nn.Module,
    at: Callable[[int], Any],
    probe: _Probe,
    count: int,
    seed: int,
    forward: Forward,
) -> None:
    tap = probe.fit.pair.teacher_tap
    handle = probe.module.register_forward_hook(probe, with_kwargs=True)
    try:
        with Recorder(teacher, [tap], "teacher") as recorder:
            for index in World.current().share(count):
                seed_all(seed, "fit", index)
                batch = at(index)
                with left_whole(batch):
                    with recorder.recording():
                        forward(teacher, batch)
                    probe.match(recorder.take()[tap], partial(forward, student, batch))
    finally:
        handle.remove()
