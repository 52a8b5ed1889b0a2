"""`lite3r eval` reads the layouts of BlendedMVS and DTU, and measures as it says."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from lite3r.bench import quality
from recon_eval import formats
from recon_eval.data import Scene, SyntheticScenes, write_blendedmvs

BUNDLED = ("da3-tiny", "vggt-tiny")
SMALL = ("--views", "2", "--size", "56", "--json")


@pytest.fixture(scope="module")
def scene() -> Scene:
    return SyntheticScenes("test", count=1, views=3, height=56, width=70)[0]


def write_mvsnet_test(root: Path, scene: Scene, scan: int) -> None:
    """A scan as MVSNet's test archive holds it, with depth beside it."""
    assert scene.depth is not None
    assert scene.valid is not None
    assert scene.world_to_camera is not None
    assert scene.intrinsics is not None
    folder = root / f"scan{scan}"
    for name in ("images", "cams", "depths", "binary_masks"):
        (folder / name).mkdir(parents=True)
    for view, image in enumerate(scene.images):
        pixels = (image.permute(1, 2, 0) * 255).byte().numpy()
        Image.fromarray(pixels).save(folder / f"images/{view:08d}.jpg", quality=95)
        camera = formats.Camera(
            name=f"{view:08d}",
            intrinsics=scene.intrinsics[view].double().numpy(),
            world_to_camera=scene.world_to_camera[view].double().numpy(),
        )
        formats.write_cam_txt(folder / f"cams/{view:08d}_cam.txt", camera)
        np.save(folder / f"depths/{view:08d}.npy", scene.depth[view].numpy())
        mask = (scene.valid[view].byte() * 255).numpy()
        Image.fromarray(mask).save(folder / f"binary_masks/{view:08d}.png")


def protocols(done: Any) -> set[str]:
    assert done.code == 0, done.err
    return {entry["protocol"] for entry in json.loads(done.out)["entries"]}


@pytest.mark.parametrize(
    ("protocol", "names"),
    [
        ("median", {"depth/median/sequence", "pose/pairs/signed"}),
        ("paper", {"lite3r/depth", "lite3r/pose", "lite3r/geometry"}),
    ],
)
@pytest.mark.parametrize("backbone", BUNDLED)
def test_blendedmvs_is_measured_with_the_bundled_weights(
    lite3r: Any, scene: Scene, protocol: str, names: set[str], backbone: str
) -> None:
    write_blendedmvs(scene, Path("data"))
    words = ("--backbone", backbone, "--protocol", protocol)
    done = lite3r("eval", "--data", "data", *words, *SMALL)
    assert protocols(done) == names
    assert all(entry["scene"].startswith(scene.name) for entry in json.loads(done.out)["entries"])


def test_the_table_shows_what_was_measured_and_nothing_else(lite3r: Any, scene: Scene) -> None:
    write_blendedmvs(scene, Path("data"))
    done = lite3r("eval", "--data", "data", "--views", "2", "--size", "69")
    assert done.code == 0, done.err
    assert "56 pixels" in " ".join(done.out.split())
    assert "AUC@30" in done.out
    assert not any(word in done.out for word in ("many views", "latency", "trained"))


@pytest.mark.parametrize("backbone", BUNDLED)
def test_dtu_is_measured_with_the_bundled_weights(lite3r: Any, scene: Scene, backbone: str) -> None:
    for scan in (7, 9):
        write_mvsnet_test(Path("dtu"), scene, scan)
    done = lite3r("eval", "--backbone", backbone, "--data", "dtu", "--scans", "7,9", *SMALL)
    assert protocols(done) == {"depth/median/sequence", "pose/pairs/signed"}
    entries = json.loads(done.out)["entries"]
    assert {entry["scene"] for entry in entries} == {"scan7", "scan9"}
    errors = [e["numbers"]["abs_rel"] for e in entries if "abs_rel" in e["numbers"]]
    assert len(errors) == 2
    assert all(0 < error < 0.6 for error in errors)


def test_an_unknown_list_of_scans_is_refused_with_the_known_ones(lite3r: Any) -> None:
    done = lite3r("eval", "--data", "dtu", "--scans", "dtu65")
    assert done.code == 2
    assert "dtu64" in done.err


def test_a_report_is_written_and_kept(lite3r: Any) -> None:
    words = ("eval", "--weights", "random", "--scenes", "1", *SMALL, "--out", "a.json")
    done = lite3r(*words)
    assert json.loads(Path("a.json").read_text()) == json.loads(done.out)
    lite3r(*words).refuses("a.json exists already", "--overwrite")
    assert lite3r(*words, "--overwrite").code == 0


def test_a_scene_that_cannot_be_measured_is_dropped_named_and_counted(
    lite3r: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def predict(backbone: Any, scene: Scene) -> Any:
        with torch.no_grad():
            found = quality.compared(backbone, scene.images[None])
        return replace(found, depth=found.depth * np.nan) if "000001" in scene.name else found

    monkeypatch.setattr(quality, "predict", predict)
    done = lite3r("eval", "--scenes", "3", "--views", "2", "--size", "56")
    assert done.code == 0, done.err
    assert "3 scenes, 1 of them dropped" in " ".join(done.out.split())
    assert "synthetic-test-0-000001 is dropped" in done.err
