"""Read the weights that a run left on disk, without the run."""

from pathlib import Path

from torch import Tensor

from distill.resume.archive import has_run, read_identity
from distill.resume.checkpoint import list_checkpoints, load_checkpoint


def load_weights(directory: str | Path) -> dict[str, Tensor]:
    """Return what trained, by name, with the values that the run gave its student.

    Buffers that changed, as those of a batch norm do, are among it. Parameters are averaged where
    the run averages (`ema_decay`), and all are those of the best evaluation where it keeps the
    best; `student.load_state_dict(weights, strict=False)` takes them. A run that is not finished
    gives those of its newest checkpoint.

    Raises ValueError if there is no run, no checkpoint yet, or a damaged one, or run.json is gone.
    """
    directory = Path(directory)
    if not has_run(directory):
        raise ValueError(
            f"directory={str(directory)!r}; it must hold a run with a checkpoint: give the "
            "directory that `distill` was given"
        )
    config = read_identity(directory)["config"]
    checkpoint = load_checkpoint(list_checkpoints(directory / "checkpoints")[-1])
    progress = checkpoint.state["progress"]
    if config["keep"] == "best" and progress["stopped"] and progress["best_step"] is not None:
        best = directory / "checkpoints" / f"step-{progress['best_step']:08d}"
        checkpoint = load_checkpoint(best)
    kind = "model/" if config["ema_decay"] is None else "average/"
    return {
        name.partition("/")[2]: tensor
        for name, tensor in checkpoint.tensors.items()
        if name.startswith((kind, "buffer/"))
    }
