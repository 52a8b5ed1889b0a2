"""Time sparse linear attention beside dense attention and others, and write JSON.

    python benchmarks/bench.py --tokens 8192 --heads 16 --keep 0.1 --dtype bf16 --out cpu.json
    python benchmarks/bench.py --device cuda --tokens 11000 44000 137000 --out h200.json

Contenders: dense `scaled_dot_product_attention` by every backend that runs, FlexAttention on the
same lists, thu-ml/SLA where it can be imported, our sparse branch, and our whole module (selection,
both branches, projection). First each contender's values and gradients are held against a float64
reference at 700 tokens; one that does not match is not timed. Then all are timed in turns, so that
what else the machine does falls on all of them. Reported: medians with every repetition, peak
memory, TFLOP/s on kept pairs (forward 2, backward 5 products).

Peak memory is what a step holds at most above its live inputs, its output counted. On a GPU the
allocator says it. On the CPU it is resident memory, read in a process of its own for each contender
and step, after the same step ran on few tokens, so that its code is loaded; there glibc is told to
give freed memory back at once, so that what was resident before the step is what was live.
"""

import argparse
import itertools
import json
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.attention.flex_attention import flex_attention

import sla_kernels
from sla_kernels import SparseLinearAttention, block_sparse_attention, explain, select_blocks
from sla_kernels.sparse.flex import block_mask

try:
    from triton.errors import TritonError
except ImportError:  # a CPU can be without Triton, and then nothing raises it

    class TritonError(Exception):
        """Never raised."""


Attention = Callable[[Tensor, Tensor, Tensor], Tensor]
DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}
TOLERANCE = {"bf16": 2e-2, "fp16": 4e-3, "fp32": 1e-5}  # norm of the difference over the norm
CHECKED_TOKENS = 700
GIVE_BACK = ["MALLOC_MMAP_THRESHOLD_=65536", "MALLOC_TRIM_THRESHOLD_=65536"]  # for glibc


def contenders(q: Tensor, k: Tensor, args: argparse.Namespace, keep: float) -> dict[str, Attention]:
    """Everything that can be timed on these tensors, by name."""
    selection = select_blocks(q, k, keep=keep, block=args.block)
    module = SparseLinearAttention(q.shape[3], keep=keep, block=args.block).to(q.device, q.dtype)
    found: dict[str, Attention] = {
        f"dense/{backend.name.lower()}": dense(backend)
        for backend in (
            SDPBackend.FLASH_ATTENTION,
            SDPBackend.EFFICIENT_ATTENTION,
            SDPBackend.CUDNN_ATTENTION,
            SDPBackend.MATH,
        )
        if runs(backend, q)
    }
    found["ours/sparse"] = lambda q, k, v: block_sparse_attention(q, k, v, selection)
    found["ours/module"] = module
    if "flex" not in args.skip:
        found["flex/sparse"] = flex(selection)
    if find_spec("sparse_linear_attention"):
        found["thu-ml/module"] = thu_ml(q, keep, args.block)
    return {
        name: run
        for name, run in found.items()
        if name not in args.skip and name.split("/")[0] not in args.skip
    }


def dense(backend: SDPBackend) -> Attention:
    def run(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        with sdpa_kernel(backend):
            return F.scaled_dot_product_attention(q, k, v)

    return run


def runs(backend: SDPBackend, q: Tensor) -> bool:
    """Whether a backend takes tensors like these; the quadratic one only where it is small."""
    if backend == SDPBackend.MATH and q.shape[2] > 2048:
        return False
    if q.device.type == "cpu":
        return backend in (SDPBackend.FLASH_ATTENTION, SDPBackend.MATH)
    few = q[:, :, :128]
    try:
        dense(backend)(few, few, few)
    except RuntimeError:
        return False
    return True


def flex(selection: sla_kernels.BlockSelection) -> Attention:
    """FlexAttention on the same lists; on the CPU it takes nothing that requires a gradient."""
    compiled = torch.compile(flex_attention)
    if selection.indices.device.type == "cpu":
        mask = block_mask(selection)
        return lambda q, k, v: compiled(q.detach(), k.detach(), v.detach(), block_mask=mask)
    mask = both_ways(selection)
    tiles = {f"BLOCK_{axis}{turn}": 64 for axis in "MN" for turn in ("", 1, 2)}  # divide its blocks
    return lambda q, k, v: compiled(q, k, v, block_mask=mask, kernel_options=tiles)


def both_ways(selection: sla_kernels.BlockSelection) -> Any:
    """FlexAttention's mask with the column lists its backward pass walks."""
    mask = block_mask(selection)
    return type(mask).from_kv_blocks(
        mask.kv_num_blocks,
        mask.kv_indices,
        BLOCK_SIZE=mask.BLOCK_SIZE,
        seq_lengths=mask.seq_lengths,
    )


def thu_ml(q: Tensor, keep: float, block: tuple[int, int]) -> Attention:
    from sparse_linear_attention import SparseLinearAttention as Theirs

    options = {"BLKQ": block[0], "BLKK": block[1], "use_bf16": q.dtype == torch.bfloat16}
    module = Theirs(q.shape[3], topk=keep, **options).to(q.device, q.dtype)
    return lambda q, k, v: module(q, k, v)


def inputs(tokens: int, args: argparse.Namespace, *, gradient: bool) -> list[Tensor]:
    """Random q, k, v and output gradient."""
    made = torch.Generator(args.device).manual_seed(0)
    size = (1, args.heads, tokens, args.width)
    return [
        torch.randn(size, generator=made, device=args.device)
        .to(DTYPES[args.dtype])
        .requires_grad_(gradient and at < 3)
        for at in range(4)
    ]


def mismatch(name: str, args: argparse.Namespace, keep: float) -> float:
    """The largest error of values and gradients at a size where float64 is cheap."""
    *leaves, grad = inputs(CHECKED_TOKENS, args, gradient=True)
    q, k, _ = leaves
    selection = select_blocks(q, k, keep=keep, block=args.block)
    exact = [x.detach().double().requires_grad_() for x in leaves]
    if name.startswith("dense"):
        expected = F.scaled_dot_product_attention(*exact)
    else:  # the projection is zero at the start, so a module is its sparse branch
        expected = block_sparse_attention(*exact, selection, backend="reference")
    run = contenders(q, k, args, keep)[name]
    differentiable = trains(name, args)
    with torch.set_grad_enabled(differentiable):
        found = [run(*leaves)]
    wanted = [expected]
    if differentiable:
        found += torch.autograd.grad(found[0], leaves, grad)
        wanted += torch.autograd.grad(expected, exact, grad.double())
    pairs = zip(found, wanted, strict=True)
    return max(
        float((a.detach().double() - b.detach()).norm() / b.detach().norm()) for a, b in pairs
    )


def trains(name: str, args: argparse.Namespace) -> bool:
    return not (name.startswith("flex") and args.device == "cpu")


def steps(name: str, run: Attention, leaves: list[Tensor], args: argparse.Namespace) -> dict:
    """What is timed of a contender."""
    *qkv, grad = leaves

    def forward() -> None:
        with torch.no_grad():
            run(*qkv)

    def both() -> None:
        torch.autograd.grad(run(*qkv), qkv, grad)

    return {"forward": forward} | ({"forward_backward": both} if trains(name, args) else {})


def seconds(step: Callable[[], None], device: str) -> float:
    if device == "cuda":
        torch.cuda.synchronize()
    start = time.perf_counter()
    step()
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start


def peak_bytes(name: str, step: str, tokens: int, keep: float, args: argparse.Namespace) -> int:
    """The most memory a step holds above its live inputs, its output counted."""
    if args.device == "cpu":
        place = [name, step, str(tokens), str(keep)]
        command = ["env", *GIVE_BACK, sys.executable, __file__, *sys.argv[1:], "--memory", *place]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        return int(done.stdout.split()[-1])
    leaves = inputs(tokens, args, gradient=True)
    run = steps(name, contenders(*leaves[:2], args, keep)[name], leaves, args)[step]
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    run()
    return torch.cuda.max_memory_allocated() - before


def memory_in_this_process(args: argparse.Namespace) -> int:
    """Run one step once and return how far the process grew above its inputs."""
    name, step, tokens, keep = args.memory[0], args.memory[1], int(args.memory[2]), args.memory[3]
    few = inputs(CHECKED_TOKENS, args, gradient=True)  # so that code is loaded before
    steps(name, contenders(*few[:2], args, float(keep))[name], few, args)[step]()
    leaves = inputs(tokens, args, gradient=True)
    run = steps(name, contenders(*leaves[:2], args, float(keep))[name], leaves, args)[step]
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew from here
    before = status("VmRSS")
    run()
    return status("VmHWM") - before


def status(name: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith(name))


def measure(tokens: int, keep: float, args: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Time every contender that matches, in turns."""
    leaves = inputs(tokens, args, gradient=True)
    q, k = leaves[:2]
    entries, timed = [], {}
    for name, run in contenders(q, k, args, keep).items():
        entry: dict[str, Any] = {"contender": name, "tokens": tokens, "keep": keep}
        entries.append(entry)
        made = steps(name, run, leaves, args)
        try:
            entry |= checked(name, made, tokens, keep, args)
        except (RuntimeError, TritonError) as problem:  # the others are timed all the same
            entry["refused"] = f"{type(problem).__name__}: {str(problem)[:300]}"
        timed |= {(name, what): (step, entry[what]) for what, step in made.items() if what in entry}
    for _ in range(args.repetitions):
        for step, record in timed.values():
            record["seconds"].append(seconds(step, args.device))
    told = explain(q, k, keep=keep, block=args.block)
    for entry in entries:
        density = 1.0 if entry["contender"].startswith("dense") else told.density
        finish(entry, density, tokens, args)
        yield entry


def checked(
    name: str,
    made: dict[str, Callable[[], None]],
    tokens: int,
    keep: float,
    args: argparse.Namespace,
) -> dict[str, Any]:
    """Run a contender once: its error and the room for its times, or why it is not timed."""
    error = mismatch(name, args, keep)
    if not error < TOLERANCE[args.dtype]:
        return {
            "error": error,
            "refused": f"error {error:.1e} is above {TOLERANCE[args.dtype]:.0e}",
        }
    found: dict[str, Any] = {"error": error}
    for what, step in made.items():
        step()
        peak = None if args.no_memory else peak_bytes(name, what, tokens, keep, args)
        found[what] = {"peak_bytes": peak, "seconds": []}
    return found


def finish(entry: dict, density: float, tokens: int, args: argparse.Namespace) -> None:
    """Add medians and rates."""
    entry["density"] = density
    product = 2 * args.heads * tokens * tokens * args.width * density
    for step, products in (("forward", 2), ("forward_backward", 7)):
        if step in entry:
            median = statistics.median(entry[step]["seconds"])
            entry[step] |= {"median": median, "tflops_kept": products * product / median / 1e12}


def machine(device: str) -> dict[str, Any]:
    """Where this ran and with what."""
    commit = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True)
    lines = Path("/proc/cpuinfo").read_text().splitlines() if sys.platform == "linux" else []
    return {
        "cpu": next(
            (x.split(":")[1].strip() for x in lines if "model name" in x), platform.machine()
        ),
        "threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name() if device == "cuda" else None,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "sla_kernels": sla_kernels.__version__,
        "commit": commit.stdout.strip() or None,
    }


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--tokens", nargs="+", type=int, default=[8192])
    parser.add_argument("--heads", type=int, default=16)
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--keep", nargs="+", type=float, default=[0.1])
    parser.add_argument("--block", nargs=2, type=int, default=[128, 64])
    parser.add_argument("--dtype", default="bf16", choices=DTYPES)
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument(
        "--skip", nargs="*", default=[], choices=["dense", "flex", "thu-ml", "ours"]
    )
    parser.add_argument("--no-memory", action="store_true", help="leave peak memory out")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--memory", nargs=4, help=argparse.SUPPRESS)
    args = parser.parse_args()
    args.block = tuple(args.block)
    return args


def main() -> None:
    args = arguments()
    if args.memory:
        sys.stdout.write(f"{memory_in_this_process(args)}\n")
        return
    entries = []
    for tokens, keep in itertools.product(args.tokens, args.keep):
        for entry in measure(tokens, keep, args):
            entries.append(entry)
            sys.stdout.write(line(entry) + "\n")
            sys.stdout.flush()
    if args.out:
        settings = {
            name: value for name, value in vars(args).items() if name not in ("out", "memory")
        }
        report = {"machine": machine(args.device), "settings": settings, "entries": entries}
        args.out.write_text(json.dumps(report, indent=1))


def line(entry: dict[str, Any]) -> str:
    """One contender's result in words."""
    head = f"{entry['contender']:24} n={entry['tokens']} keep={entry['keep']}"
    if "refused" in entry:
        return f"{head} refused: {entry['refused']}"
    parts = [
        f"{step} {entry[step]['median'] * 1e3:.1f} ms, {entry[step]['tflops_kept']:.3f} TFLOP/s, "
        f"peak {(entry[step]['peak_bytes'] or 0) / 2**20:.0f} MiB"
        for step in ("forward", "forward_backward")
        if step in entry
    ]
    return f"{head}  {'; '.join(parts)}"


if __name__ == "__main__":
    main()
