"""The process of one step."""

from importlib import import_module
from pathlib import Path

import torch

from gpu.plan import by_name
from gpu.record import DeviceBroken, Record, end_broken
from gpu.setting import Setting


def run_step(name: str, out: Path, *, rehearse: bool, run: str) -> None:
    """Run a step to its end, or to where the device breaks.

    Raises ValueError without a GPU, unless it is a rehearsal.
    """
    if not rehearse and not torch.cuda.is_available():
        raise ValueError("device=cuda; PyTorch must find a GPU: pass --rehearse to run on a CPU")
    setting = Setting(step=name, device="cpu" if rehearse else "cuda", rehearse=rehearse, out=out)
    record = Record(out / f"{name}.json", run=run, rehearse=rehearse)
    torch.manual_seed(0)
    try:
        import_module(f"gpu.steps.{by_name(name).module}").measure(setting, record)
    except DeviceBroken:
        end_broken()


def run_checks(kind: str, *, rehearse: bool) -> None:
    """Run the checks whose names begin so, in whatever this process was started under."""
    device = "cpu" if rehearse else "cuda"
    setting = Setting(step="memory", device=device, rehearse=rehearse, out=Path())
    torch.manual_seed(0)
    import_module("gpu.steps.memory").check(kind, setting)
