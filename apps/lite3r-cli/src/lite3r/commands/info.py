"""What `lite3r info` does."""

from pathlib import Path
from typing import Any

import torch
from rich.table import Column, Table

from lite3r.options.info import Info
from lite3r.shell.environment import gpu_name, versions
from lite3r.shell.errors import reported
from lite3r.shell.terminal import Terminal
from lite3r.student.files import ADAPTER, DEPLOYED, read_config
from lite3r.student.recipes import NAMED
from lite3r.student.student import described
from recon_backbones import list_backbones
from recon_backbones.registry import backbone_entry


def run(asked: Info, terminal: Terminal) -> None:
    """Print the facts."""
    if asked.run_folder is None:
        facts = installation()
    else:
        with reported():
            facts = student(asked.run_folder)
    table = Table(Column(style="bold"), Column(), show_header=False, box=None)
    for key, value in facts.items():
        if isinstance(value, dict):
            value = "\n".join(f"{name} {one}" for name, one in value.items())
        table.add_row(key, value)
    terminal.result(facts, table)


def installation() -> dict[str, Any]:
    """Versions, hardware, backbones with their licenses, recipes."""
    homes = {e: e.hub or (e.bundled and "bundled") for e in map(backbone_entry, list_backbones())}
    backbones = {e.name: f"({at or 'no weights'}, license {e.license})" for e, at in homes.items()}
    return {
        "versions": versions(),
        "gpu": gpu_name() or "none",
        "threads": str(torch.get_num_threads()),
        "backbones": backbones,
        "recipes": {name: str(make.__doc__).partition("\n")[0] for name, make in NAMED.items()},
    }


def student(folder: Path) -> dict[str, Any]:
    """What a student was made from. Raises ValueError or OSError for a folder that holds none."""
    config = read_config(folder)
    described(folder, config)  # it is whole
    weights = folder / (DEPLOYED if (folder / DEPLOYED).is_file() else ADAPTER)
    return {
        "teacher": config["teacher"],
        "recipe": config["recipe"],
        weights.stem: f"{weights.stat().st_size / 1e6:.2f} MB",
        "versions": config["versions"],
    }
