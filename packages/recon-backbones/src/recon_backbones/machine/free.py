"""How much memory a process has and may still take, on any system."""

from collections.abc import Sequence
from pathlib import Path

import psutil
import torch
from torch import Tensor

FREE_SHARE = 0.9  # of free memory, when no budget is given
NO_FILES = ("/dev/", "/memfd:", "/SYSV", "/anon_hugepage")  # mapped by a name, and in no file


def available(device: str) -> int:
    """Bytes that may be taken beyond those held, unless the user says otherwise.

    On a GPU most of what the driver calls free and of what PyTorch keeps for later tensors; else
    most of the least that the system, the container and the process's own limit leave.
    """
    if torch.device(device).type == "cuda":
        kept = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return int(FREE_SHARE * (torch.cuda.mem_get_info(device)[0] + kept))
    limits = (psutil.virtual_memory().available, _container(), _process())
    return int(FREE_SHARE * min(limit for limit in limits if limit is not None))


def resident() -> int:
    """Bytes of this process in memory now."""
    return int(psutil.Process().memory_info().rss)


def beyond_pytorch(device: str) -> int:
    """Bytes of a GPU that are taken and not by PyTorch: CUDA's own, and other processes'."""
    free, total = torch.cuda.mem_get_info(device)
    return max(0, total - free - torch.cuda.memory_reserved(device))


def taken(tensors: Sequence[Tensor]) -> int:
    """Bytes of tensors, of one device, that `available` lacks already.

    Pages of a mapped file are not among them: they are given back where memory is short, so
    systems call them available. Only Linux tells which are; elsewhere all in the host's memory
    count as such.
    """
    held = {id(tensor): tensor for tensor in tensors if not tensor.is_meta}.values()
    files = _files() if any(tensor.device.type == "cpu" for tensor in held) else []
    return sum(
        tensor.numel() * tensor.element_size()
        for tensor in held
        if not any(tensor.data_ptr() in addresses for addresses in files)
    )


def _files() -> list[range]:
    """Addresses at which files are mapped; all there are where the system does not tell."""
    try:
        lines = Path("/proc/self/maps").read_text().splitlines()
    except OSError:
        return [range(1 << 64)]
    rows = [line.split(maxsplit=5) for line in lines]
    named = [row for row in rows if len(row) == 6 and row[5].startswith("/")]
    spans = [row[0].split("-") for row in named if not row[5].startswith(NO_FILES)]
    return [range(int(start, 16), int(end, 16)) for start, end in spans]


def _container() -> int | None:
    """What a control group leaves; its files say "max" where there is no limit."""
    limit, used = Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory.current")
    try:
        return max(0, int(limit.read_text()) - int(used.read_text()))
    except (OSError, ValueError):
        return None


def _process() -> int | None:
    """What a limit on the address space leaves, as `ulimit -v` sets it; only Linux tells."""
    process = psutil.Process()
    if not hasattr(process, "rlimit"):
        return None
    soft, _ = process.rlimit(psutil.RLIMIT_AS)
    if soft == psutil.RLIM_INFINITY:
        return None
    return max(0, soft - int(process.memory_info().vms))
