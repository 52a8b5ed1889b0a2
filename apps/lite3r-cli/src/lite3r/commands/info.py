"""`lite3r info`: what is installed, what is known, and what a student is."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from tyro.conf import OmitArgPrefixes, Positional

from ..terminal import Output


@dataclass(frozen=True, kw_only=True)
class Info:
    """Say what is installed and which backbones are known, or describe a run."""

    run_folder: Positional[Path | None] = None
    """A run, as runs/da3-tiny; without it, this installation."""
    output: Annotated[Output, OmitArgPrefixes] = field(default_factory=Output)

    def run(self) -> None:
        """Print the facts."""
        from rich.table import Table

        from ..terminal import Terminal

        facts = self._installation() if self.run_folder is None else self._run(self.run_folder)
        table = Table(show_header=False, box=None)
        for key, value in facts.items():
            if isinstance(value, dict):
                value = ", ".join(f"{name} {one}" for name, one in value.items())
            table.add_row(f"[bold]{key}[/bold]", value)
        Terminal(self.output).result(facts, table)

    @staticmethod
    def _installation() -> dict[str, Any]:
        import torch

        from recon_backbones import list_backbones
        from recon_backbones.registry import backbone_entry

        from ..student import versions

        entries = [backbone_entry(name) for name in list_backbones()]
        backbones = {e.name: f"({e.hub or 'bundled'}, licence {e.licence})" for e in entries}
        gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else "none"
        return {
            "versions": versions(),
            "gpu": gpu,
            "threads": str(torch.get_num_threads()),
            "backbones": backbones,
        }

    @staticmethod
    def _run(folder: Path) -> dict[str, Any]:
        from ..errors import reported
        from ..student import ADAPTER, read_config

        with reported():
            config = read_config(folder / "config.json")
            size = (folder / ADAPTER).stat().st_size
        return {
            "teacher": config["teacher"],
            "recipe": config["recipe"],
            "adapter": f"{size / 1e6:.2f} MB",
            "versions": config["versions"],
        }
