"""What the sizes of every transformer here must satisfy."""

from collections.abc import Sequence


def check_heads_divide(name: str, heads: int, width: int) -> None:
    """Refuse a number of attention heads that does not divide the width; raises ValueError."""
    if heads < 1 or width % heads:
        raise ValueError(f"{name}={heads}; it must divide width={width}: choose one that does")


def check_rotates(head_dim: int) -> None:
    """Refuse heads too odd for rotation in two axes; raises ValueError."""
    if head_dim % 4:
        raise ValueError(
            f"head_dim={head_dim}; it must be a multiple of 4 for 2-D rotation: choose other "
            "heads or width"
        )


def check_out_layers(out_layers: Sequence[int], depth: int) -> None:
    """Refuse output layers that do not ascend within the depth; raises ValueError."""
    if sorted(set(out_layers)) != list(out_layers) or not 0 <= out_layers[0] <= out_layers[-1] < (
        depth
    ):
        raise ValueError(
            f"out_layers={tuple(out_layers)}; they must ascend below depth={depth}: count "
            "blocks from 0"
        )


def check_channels(channels: Sequence[int]) -> None:
    """Refuse channel counts that a sin-cos map cannot fill; raises ValueError."""
    for count in channels:
        if count < 1 or count % 4:
            raise ValueError(
                f"head channels={count}; they must be a multiple of 4 for the sin-cos map: "
                "choose other channels"
            )
