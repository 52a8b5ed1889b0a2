"""How much memory a process has and may still take, on any system."""

from pathlib import Path

import psutil
import torch

FREE_SHARE = 0.9  # of free memory, when no budget is given


def available(device: str) -> int:
    """Bytes that may be taken beyond those held, unless the user says otherwise.

    On a GPU most of what the driver calls free; else most of the least that the system, the
    container and the process's own limit leave.
    """
    if torch.device(device).type == "cuda":
        return int(FREE_SHARE * torch.cuda.mem_get_info(device)[0])
    limits = (psutil.virtual_memory().available, _container(), _process())
    return int(FREE_SHARE * min(limit for limit in limits if limit is not None))


def resident() -> int:
    """Bytes of this process in memory now."""
    return int(psutil.Process().memory_info().rss)


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
