"""Join the processes that `torchrun` or `accelerate launch` started, also after a restart.

A restarted process finds in the launcher's store what the processes before the restart left
there, among it addresses at which nobody listens any more; a group that trusts them fails to
connect, or waits for ever. So the processes first agree on a name that only this start has, and
keep everything of their group under it.
"""

import secrets
import time

import torch
from torch import distributed
from torch.distributed import PrefixStore, Store, rendezvous  # type: ignore[attr-defined]

PAUSE_SECONDS = 0.01


def join_processes(backend: str | None = None, *, timeout_seconds: float = 300.0) -> None:
    """Initialize the process group of `torch.distributed`; call it before anything else does.

    A process that no launcher started stays alone, and one that has a group keeps it.

    - `backend`: as in `init_process_group`; "nccl" where there is a GPU, else "gloo".
    - `timeout_seconds`: how long to wait for the other processes.

    Raises TimeoutError if another process did not come.
    """
    if distributed.is_initialized() or not distributed.is_torchelastic_launched():
        return
    store, rank, size = next(rendezvous("env://"))
    name = agree(store, rank, size, timeout_seconds=timeout_seconds)
    distributed.init_process_group(
        backend or ("nccl" if torch.cuda.is_available() else "gloo"),
        store=PrefixStore(name, store),
        rank=rank,
        world_size=size,
    )


def use_own_gpu() -> None:
    """Make one GPU of this machine, another for each launched process, the current one.

    Nothing happens without a launcher or without a GPU. More processes than GPUs share them.
    """
    if distributed.is_torchelastic_launched() and torch.cuda.is_available():
        own = distributed.get_node_local_rank(fallback_rank=0)
        torch.cuda.set_device(own % torch.cuda.device_count())


def agree(store: Store, rank: int, size: int, *, timeout_seconds: float = 300.0) -> str:
    """Return a name that all processes of this start share, and no earlier start had.

    Every process says a random word; the first answers each with its own. An answer counts
    only with the word that was just said, so nothing left in the store is believed.

    Raises TimeoutError if another process did not come.
    """
    word, end = secrets.token_hex(8), time.monotonic() + timeout_seconds
    waiting = set(range(1, size)) if rank == 0 else {rank}
    if rank:
        store.set(f"hello/{rank}", word)
    while waiting:
        for other in sorted(waiting):
            name = _answer(store, other, word) if rank == 0 else _answered(store, rank, word)
            if name:
                word = name
                waiting.remove(other)
        if waiting and time.monotonic() > end:
            raise TimeoutError(
                f"timeout_seconds={timeout_seconds}; process {rank} waited so long for {waiting}: "
                "see why they did not start"
            )
        time.sleep(PAUSE_SECONDS)
    return word


def _answer(store: Store, other: int, name: str) -> str | None:
    """Tell another process the name; return it once that process has heard it."""
    if store.check([f"{name}/{other}"]):
        return name
    if store.check([f"hello/{other}"]):
        store.set(f"welcome/{other}", f"{_text(store, f'hello/{other}')} {name}")
    return None


def _answered(store: Store, rank: int, word: str) -> str | None:
    """Return the name that answers a word, and confirm it."""
    if not store.check([f"welcome/{rank}"]):
        return None
    said, name = _text(store, f"welcome/{rank}").split()
    if said != word:
        return None
    store.set(f"{name}/{rank}", "heard")
    return name


def _text(store: Store, key: str) -> str:
    return bytes(store.get(key)).decode()
