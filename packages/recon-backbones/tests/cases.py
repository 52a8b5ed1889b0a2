"""Directories of parity cases, and how far a tensor may lie from its reference."""

import json
from pathlib import Path

import pytest
from safetensors import safe_open
from torch import Tensor

FIXTURES = Path(__file__).parent / "fixtures"


def parametrise(metafunc: pytest.Metafunc, model: str) -> None:
    """Give a test that takes `case`, or `<model>_case`, one (directory, name) per case."""
    argument = next((n for n in ("case", f"{model}_case") if n in metafunc.fixturenames), None)
    if argument is None:
        return
    given = metafunc.config.getoption("--parity", default=None)
    cases = []
    for root in filter(None, (FIXTURES, given)):
        for path in sorted(root.glob("*/config.json")):
            config = json.loads(path.read_text())
            if config.get("model") != model:
                continue
            for name in config["cases"]:
                if "rule" in metafunc.fixturenames and not _has_rules(path.parent, name):
                    continue
                label = f"{root.name}/{path.parent.name}/{name}"
                cases.append(pytest.param((path.parent, name), id=label))
    metafunc.parametrize(argument, cases)


def error(found: Tensor, expected: Tensor) -> float:
    """Largest difference over the largest reference value."""
    assert found.shape == expected.shape
    return ((found - expected).abs().max() / expected.abs().max()).item()


def compare(found: dict[str, Tensor], file: dict[str, Tensor], *, needed: set[str]) -> None:
    """Hold every tensor that a case file has against it: 3e-5, poses 2e-5."""
    there = {key for key in found if f"out.{key}" in file}
    assert needed <= there
    for key in sorted(there):
        bound = 2e-5 if key.startswith("pose_enc") else 3e-5
        assert error(found[key], file[f"out.{key}"]) < bound, key


def _has_rules(directory: Path, name: str) -> bool:
    with safe_open(directory / f"case_{name}.safetensors", "pt") as file:
        return "out.first.depth" in set(file.keys())
