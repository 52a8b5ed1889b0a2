"""Read the settings of a Hugging Face `Accelerator` (install `distill[accelerate]`).

Accelerate starts the processes, joins them, picks their devices and holds the settings of its
launcher. The loop itself sums gradients over the processes, once a step and for the few
parameters that train: passes that end early, and losses read inside the model, do not go
through a wrapper such as DistributedDataParallel.
"""

from typing import Any

from distill.processes.sharding import Sharding

ONE_COPY_EACH = ("NO", "MULTI_GPU", "MULTI_CPU", "MULTI_XPU", "MULTI_NPU")


def sharding_of(accelerator: Any) -> Sharding | None:
    """Return how an `Accelerator` wants models spread, None where each process holds its own.

    - `accelerator`: an `accelerate.Accelerator`, made after `join_processes`. What it sets for
      FSDP2 is used: resharding after the forward pass, and offloading to the CPU.

    Raises ValueError if it asks for something that the loop does itself, or cannot do: each with
    the setting to use instead.
    """
    kind = accelerator.distributed_type.value
    _refuse(accelerator.mixed_precision != "no", "mixed_precision", "DistillConfig(autocast=...)")
    _refuse(
        accelerator.gradient_accumulation_steps != 1,
        "gradient_accumulation_steps",
        "DistillConfig(accumulation=...)",
    )
    if kind in ONE_COPY_EACH:
        return None
    if kind != "FSDP":
        raise ValueError(
            f"distributed_type={kind}; it is not supported: use one process a device, or FSDP2"
        )
    return _from_plugin(accelerator.state.fsdp_plugin)


def _from_plugin(plugin: Any) -> Sharding:
    from torch.distributed.fsdp import CPUOffloadPolicy  # slow to import

    _refuse(plugin.fsdp_version != 2, "fsdp_version other than 2", "fsdp_version=2")
    _refuse(
        bool(plugin.activation_checkpointing),
        "activation_checkpointing",
        "DistillConfig(checkpoint_activations=...)",
    )
    _refuse(
        plugin.mixed_precision_policy is not None,
        "mixed_precision_policy",
        "DistillConfig(autocast=...)",
    )
    return Sharding(
        reshard=bool(plugin.reshard_after_forward),
        offload=isinstance(plugin.cpu_offload, CPUOffloadPolicy),
    )


def _refuse(holds: bool, name: str, instead: str) -> None:
    if holds:
        raise ValueError(
            f"accelerator={name}; the Accelerator sets it, and it is not used here: set {instead}"
        )
