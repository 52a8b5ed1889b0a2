"""What `lite3r reconstruct` writes: what the package found, and what was asked of it."""

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from recon_backbones import load_backbone, reconstruct
from recon_eval.data import SyntheticScenes
from recon_eval.formats import read_colmap

from .making import NAMES, arrays, facts, run


def test_the_report_links_to_what_is_named_after_it(lite3r: Any, room: Path) -> None:
    words = ("--weights", "random", "--size", "28", "--formats", "report", "npz", "--out", "two")
    assert lite3r("reconstruct", room, *words).code == 0
    assert "href='prediction.npz'" in Path("two/report.html").read_text()


def test_the_package_alone_gives_what_the_command_writes(lite3r: Any, room: Path) -> None:
    assert lite3r("reconstruct", room, "--size", "56", "--formats", "npz", "--out", "out").code == 0
    alone = reconstruct(room, load_backbone("da3-tiny", weights="bundled"), size=56)
    found = arrays()
    assert list(found["names"]) == list(alone.photos)
    for name, wanted in {
        "depth": alone.depth,
        "confidence": alone.confidence,
        "keep": alone.keep,
        "images": alone.images,
        "world_to_camera": alone.world_to_camera,
        "intrinsics": alone.intrinsics_seen,
        "original_intrinsics": alone.intrinsics,
    }.items():
        np.testing.assert_array_equal(found[name], wanted, err_msg=name)


def test_masks_reach_points_and_depth(lite3r: Any, room: Path) -> None:
    pixels = np.array(Image.open(room / NAMES[0]))
    pixels[:, :40] = 0
    Image.fromarray(pixels).save(room / NAMES[0])
    words = ("--mask-background", "black", "--confidence-percentile", "0", "--edge-tolerance", "99")
    done = lite3r(
        *("reconstruct", room, "--weights", "random", "--size", "56", "--out", "out"),
        *("--formats", "npz", "depth", *words),
    )
    assert done.code == 0, done.err
    keep = arrays()["keep"]
    assert not keep[0, :, :14].any()
    assert keep[0, :, 24:].mean() > 0.9
    depth = np.asarray(Image.open("out/depth/Foto 0.png"))
    assert ((depth == 0) == ~keep[0]).all()


def test_half_precision_is_near_for_teachers_and_students(
    lite3r: Any, room: Path, finished: Any
) -> None:
    assert run(lite3r, room, out="whole").code == 0
    done = run(lite3r, room, "--precision", "bfloat16", out="half")
    assert done.code == 0, done.err
    assert facts("half")["computed in"] == "bfloat16"
    ratio = arrays("half")["depth"] / arrays("whole")["depth"]
    assert 0 < np.abs(np.log(ratio)).max() < 0.3
    finished.copied()
    done = run(lite3r, room, "--model", "run", "--precision", "bfloat16")
    assert done.code == 0, done.err
    assert facts("out")["computed in"].endswith("layers, bfloat16")


def test_refined_cameras_go_into_files_with_the_tracks_they_were_fitted_to(
    lite3r: Any, tmp_path: Path
) -> None:
    scene = SyntheticScenes("test", count=1, views=4, height=300, width=400, seed=1)[0]
    folder = tmp_path / "photos"
    folder.mkdir()
    for name, image in zip(NAMES, scene.images, strict=True):
        pixels = (image.permute(1, 2, 0) * 255).byte().numpy()
        Image.fromarray(pixels).save(folder / name)
    done = lite3r(
        *("reconstruct", folder, "--size", "112", "--formats", "colmap", "npz", "--out", "out"),
        *("--refine", "--shared-camera", "--max-points", "500"),
    )
    assert done.code == 0, done.err
    told = facts()["cameras refined"]
    assert "views by" in told, told
    model = read_colmap(Path("out/sparse/0"))
    count = int(told.partition("views by ")[2].split()[0].replace(",", ""))
    exact = model.observations.point < count
    assert (np.bincount(model.observations.point[exact], minlength=count) >= 2).all()
    for number in np.flatnonzero(exact)[::50]:
        camera = model.cameras[model.observations.camera[number]]
        point = model.cloud.points[model.observations.point[number]]
        landed, _ = camera.project(point[None])
        assert np.abs(landed[0] - model.observations.xy[number]).max() < 4
    lenses = arrays()["original_intrinsics"]
    np.testing.assert_allclose(lenses, lenses[:1].repeat(4, axis=0))
