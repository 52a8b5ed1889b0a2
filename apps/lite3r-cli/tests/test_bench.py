"""`lite3r bench` times what computes the right thing, and says what did not run."""

import json
import sys
import types
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import torch
from torch import nn

from lite3r.bench.costs import PARTS, time_parts
from lite3r.bench.variants import variants
from lite3r.options.bench import width_and_height
from lite3r.student.recipes import Recipe
from recon_backbones import load_backbone

TINY = ("--views", "2", "--sizes", "56x42", "--repeats", "2", "--no-compile")
FIGURES = ("latency_ms", "views_per_second", "working_memory_mb", "weights_mb", "gflop")


@pytest.fixture(scope="module")
def result() -> dict[str, Any]:
    """What a benchmark of two numbers of views would find."""
    rows = [
        {"variant": name, "latency_ms": 10.0 * n, "fastest_ms": 9.0 * n, "slowest_ms": 11.0 * n,
         "working_memory_mb": 100.0}
        for n, name in enumerate(("dense bfloat16", "SLA bfloat16"), start=1)
    ]  # fmt: skip
    rows.append({"variant": "FP8", "not_run": "cpu multiplies no FP8"})
    shape = {"backbone": "da3-<tiny>", "weights": "random", "width": 224, "height": 224}
    results = [shape | {"views": views, "rows": rows} for views in (2, 8)]
    return {"what": "lite3r bench speed", "results": results}


def test_bench_times_what_stays_true_and_says_what_did_not_run(lite3r: Any) -> None:
    done = lite3r("bench", "speed", *TINY, "--out", "speed.json")
    assert done.code == 0, done.err
    document = json.loads(Path("speed.json").read_text())
    (result,) = document["results"]
    assert (result["views"], result["width"], result["height"]) == (2, 56, 42)
    assert result["weights"] == "random"
    named = {row["variant"]: row for row in result["rows"]}
    timed = ("dense float32", "dense bfloat16", "SLA bfloat16")
    assert list(named) == [*timed, "FP8", "SLA + FP8", "upstream DA3, autocast"]
    for name in timed:
        assert len(named[name]["latencies_ms"]) == 2
        assert all(named[name][figure] > 0 for figure in FIGURES)
        assert set(named[name]["parts_ms"]) == set(PARTS)
    assert named["dense bfloat16"]["weights_mb"] < 0.6 * named["dense float32"]["weights_mb"]
    assert named["dense bfloat16"]["gflop"] == named["dense float32"]["gflop"]
    assert named["FP8"]["not_run"] == "cpu multiplies no FP8"
    assert document["environment"]["versions"]["torch"]
    assert "| dense bfloat16 |" in done.out
    assert lite3r("bench", "speed", *TINY, "--out", "speed.json").code == 2


def test_a_variant_that_strays_is_not_timed(monkeypatch: pytest.MonkeyPatch, lite3r: Any) -> None:
    monkeypatch.setattr(
        "recon_eval.efficiency.variants.build_and_compare", lambda variant, base, run: (base, 0.9)
    )
    done = lite3r("bench", "speed", *TINY, "--json")
    (result,) = json.loads(done.out)["results"]
    assert result["rows"][1]["not_run"] == "strays by 0.9 from float32; 0.05 allowed"
    assert all("latency_ms" not in row for row in result["rows"])


def test_no_setting_is_left_uncompiled_because_of_those_before(
    monkeypatch: pytest.MonkeyPatch, lite3r: Any, short: None
) -> None:
    """PyTorch compiles one function for so many shapes and models, and then runs it as it is."""

    def compile_soon(model: nn.Module) -> None:
        model._compiled_call_impl = torch.compile(model._call_impl, backend="eager")

    monkeypatch.setattr(nn.Module, "compile", compile_soon)
    tiny = ("--sizes", "56x42", "--repeats", "1", "--fp8", "none")
    with torch._dynamo.config.patch(recompile_limit=4, fail_on_recompile_limit_hit=True):
        done = lite3r("bench", "speed", "--views", "2", "3", *tiny, "--json")
    assert done.code == 0, done.err
    for result in json.loads(done.out)["results"]:
        timed = {row["variant"] for row in result["rows"] if "latency_ms" in row}
        assert {"dense bfloat16, compiled", "SLA bfloat16, compiled"} <= timed


def test_every_row_of_the_comparison_is_there() -> None:
    rows = variants("da3-large", Recipe(), device="cpu", with_compile=True)
    plain = {"dense float32", "dense bfloat16", "SLA bfloat16", "FP8", "SLA + FP8"}
    compiled = {f"{name}, compiled" for name in plain - {"dense float32", "FP8"}}
    assert {row.name for row in rows} == plain | compiled | {"upstream DA3, autocast"}
    without = variants("vggt-1b", Recipe(fp8="none"), device="cpu", with_compile=False)
    assert [row.name for row in without] == ["dense float32", "dense bfloat16", "SLA bfloat16"]
    (missing,) = {row.missing for row in rows if row.name in ("FP8", "SLA + FP8")}
    assert missing == "cpu multiplies no FP8"


def test_parts_add_up_to_the_whole_and_leave_no_hook() -> None:
    model = load_backbone("da3-tiny", weights="random")
    hooks = sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules())
    parts = time_parts(model, torch.rand(1, 2, 3, 28, 28), device="cpu", repeats=1)
    assert all(ms > 0 for ms in parts.values())
    after = sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules())
    assert after == hooks


class Net(nn.Module):
    """Upstream's interface around one number."""

    def __init__(self) -> None:
        super().__init__()
        self.level = nn.Parameter(torch.zeros(()))

    def forward(self, image: Any, *options: Any) -> dict[str, Any]:
        assert options == (None, None, [], False, False, "first")
        return {"depth": image[:, :, 0] * 0 + self.level}


def test_upstream_runs_with_our_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    def module(name: str, **contents: Any) -> None:
        made = types.ModuleType(name)
        vars(made).update(contents)
        monkeypatch.setitem(sys.modules, name, made)

    def create(config: Any) -> Net:
        assert config == "da3-small.yaml"
        return Net()

    module("depth_anything_3")
    module("depth_anything_3.cfg", create_object=create, load_config=lambda path: path)
    module("depth_anything_3.registry", MODEL_REGISTRY={"da3-small": "da3-small.yaml"})
    (row,) = (
        r
        for r in variants("da3-small", Recipe(), device="cpu", with_compile=False)
        if r.name.startswith("upstream")
    )
    assert row.missing is None
    ours = nn.Module()
    ours.model = nn.Module()
    ours.model.level = nn.Parameter(torch.tensor(3.0))
    depth = row.build(ours)(torch.rand(1, 2, 3, 28, 28), reference="first").depth
    assert torch.equal(depth, torch.full((1, 2, 28, 28), 3.0))
    tiny = variants("da3-tiny", Recipe(), device="cpu", with_compile=False)[-1]
    assert tiny.missing == "depth_anything_3 has no da3-tiny"


@pytest.mark.parametrize(
    ("size", "found"), [("518", (518, 518)), ("518x392", (518, 392)), ("14x28", (14, 28))]
)
def test_sizes_are_width_by_height(size: str, found: tuple[int, int]) -> None:
    assert width_and_height(size) == found


@pytest.mark.parametrize(
    "words",
    [
        ("--sizes", "518*2"),
        ("--views", "0"),
        ("--repeats", "0"),
        ("--seconds", "0"),
        ("--out", "speed.txt"),
        ("--sizes", "50"),
        ("--backbone", "da4"),
    ],
)
def test_wrong_settings_are_refused_by_name(lite3r: Any, words: tuple[str, str]) -> None:
    done = lite3r("bench", "speed", *TINY, *words)
    assert done.code == 2
    assert words[1] in done.err.replace("\n", "")


def test_every_size_is_looked_at_before_one_is_measured(lite3r: Any) -> None:
    done = lite3r("bench", "speed", *TINY, "--sizes", "28", "50")
    assert done.code == 2 and "sizes=50x50" in done.err
    assert "checking" not in done.err
    assert lite3r("bench", "speed", *TINY, "--sizes", "28", "42x28").code == 0


def test_the_plot_shows_every_timed_variant(lite3r: Any, result: dict[str, Any]) -> None:
    Path("speed.json").write_text(json.dumps(result))
    done = lite3r("bench", "plot", "speed.json", "--out", "speed.svg")
    assert done.code == 0, done.err
    tree = ElementTree.fromstring(Path("speed.svg").read_text())
    shown = [text for node in tree.iter() if (text := (node.text or "").strip())]
    assert {"dense bfloat16", "SLA bfloat16"} <= set(shown)
    assert "FP8" not in shown
    assert len([n for n in tree.iter() if n.tag.endswith("}title")]) == 2 * 2 * 2
    assert lite3r("bench", "plot", "speed.json", "--out", "speed.svg").code == 2


def test_results_without_a_timed_variant_are_not_drawn(lite3r: Any, result: dict[str, Any]) -> None:
    rows = [{"variant": "FP8", "not_run": "out of memory"}]
    result = result | {"results": [one | {"rows": rows} for one in result["results"]]}
    Path("none.json").write_text(json.dumps(result))
    lite3r("bench", "plot", "none.json", "--out", "speed.svg").refuses("nothing to draw")
    assert not Path("speed.svg").exists()


@pytest.mark.parametrize("text", ["{}", "[]", "nonsense", '{"what": "another"}'])
def test_other_files_are_no_results(lite3r: Any, text: str) -> None:
    Path("other.json").write_text(text)
    done = lite3r("bench", "plot", "other.json", "--out", "speed.svg")
    assert done.code == 2
    assert "other.json holds no results" in done.err
