"""Synthetic scenes: exact, seeded, disjoint."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from recon_eval.data import BlendedMVS, Scene
from recon_eval.synthetic import (
    MAX_VIEWS,
    SyntheticScenes,
    SyntheticWorld,
    overlap,
    write_blendedmvs,
)


def scenes(split: str = "test", **changes: int) -> SyntheticScenes:
    settings = {"count": 6, "views": 3, "height": 48, "width": 64} | changes
    return SyntheticScenes(split, **settings)  # type: ignore[arg-type]


def world_points(scene: Scene) -> torch.Tensor:
    assert scene.depth is not None and scene.intrinsics is not None
    assert scene.world_to_camera is not None
    _, height, width = scene.depth.shape
    y, x = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij")
    pixels = torch.stack([x, y, torch.ones_like(x)], dim=-1)
    local = torch.einsum("vij,yxj->vyxi", torch.linalg.inv(scene.intrinsics), pixels)
    local = local * scene.depth[..., None] - scene.world_to_camera[:, None, None, :, 3]
    return torch.einsum("vji,vyxj->vyxi", scene.world_to_camera[..., :3], local)


def project(scene: Scene, view: int, points: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    assert scene.world_to_camera is not None and scene.intrinsics is not None
    camera = scene.world_to_camera[view]
    local = points @ camera[:, :3].T + camera[:, 3]
    pixels = local @ scene.intrinsics[view].T
    return pixels[..., :2] / pixels[..., 2:], local[..., 2]


def test_depth_and_cameras_reproject_into_their_own_pixels() -> None:
    scene = scenes()[0]
    points = world_points(scene)
    for view in range(scene.num_views):
        pixels, z = project(scene, view, points[view])
        assert scene.depth is not None
        torch.testing.assert_close(z, scene.depth[view], rtol=1e-5, atol=1e-5)
        x = (torch.arange(64) + 0.5).expand(48, 64)
        torch.testing.assert_close(pixels[..., 0], x, rtol=0, atol=2e-3)


@pytest.mark.parametrize("index", range(3))
def test_views_agree_on_depth_where_nothing_is_in_between(index: int) -> None:
    scene = scenes(height=96, width=96)[index]
    points = world_points(scene)
    assert scene.depth is not None
    agree, total = 0, 0
    for i, j in ((0, 1), (1, 2), (2, 0)):
        pixels, z = project(scene, j, points[i].flatten(0, 1))
        x, y = pixels.floor().long().unbind(-1)
        inside = (z > 0) & (x >= 0) & (y >= 0) & (x < 96) & (y < 96)
        seen = scene.depth[j][y[inside], x[inside]]
        assert (seen > z[inside] * 1.25).float().mean() < 0.03  # nothing is seen through
        agree += int(((seen - z[inside]).abs() < 0.04 * z[inside]).sum())
        total += int(inside.sum())
    assert agree > 0.5 * total


def test_a_scene_depends_on_seed_split_and_index_alone() -> None:
    first, again = scenes()[1], scenes()[1]
    assert torch.equal(first.images, again.images)
    longer = scenes(views=5, count=9)[1]
    torch.testing.assert_close(longer.images[:3], first.images, rtol=0, atol=1e-5)


@pytest.mark.parametrize("kind", [SyntheticScenes, SyntheticWorld])
def test_a_scene_drawn_within_autocast_is_the_same(
    kind: type[SyntheticScenes] | type[SyntheticWorld],
) -> None:
    drawn = kind("test", count=1, views=2, height=32, width=48)
    alone = drawn[0]
    seen = overlap(alone)
    with torch.autocast("cpu", torch.bfloat16):
        within = drawn[0]
        assert torch.equal(overlap(within), seen)
    for part in ("images", "depth", "world_to_camera", "intrinsics"):
        assert torch.equal(getattr(within, part), getattr(alone, part)), part


def test_splits_and_seeds_are_disjoint() -> None:
    drawn = [
        scenes(split, seed=seed).world(i)
        for split in ("train", "test")
        for seed in (0, 1)
        for i in range(3)
    ]
    focal = {float(world.light[0]) for world in drawn}
    assert len(focal) == len(drawn)


def test_every_camera_sees_finite_depth_and_stays_out_of_solids() -> None:
    for scene in scenes(count=8, views=MAX_VIEWS, height=24, width=24):
        assert scene.depth is not None
        assert torch.isfinite(scene.depth).all()
        assert float(scene.depth.min()) > 0.1
        assert 0 <= float(scene.images.min()) <= float(scene.images.max()) <= 1


def test_neighboring_views_overlap() -> None:
    shares = torch.stack([overlap(scene) for scene in scenes(count=6)])
    assert torch.allclose(shares.diagonal(dim1=1, dim2=2), torch.ones(6, 3))
    assert float(shares.mean()) > 0.4


def test_the_blendedmvs_layout_holds_depth_exactly(tmp_path: Path) -> None:
    scene = scenes()[2]
    folder = write_blendedmvs(scene, tmp_path)
    assert sorted(p.name for p in (folder / "cams").iterdir())[-1] == "pair.txt"
    raw = (folder / "rendered_depth_maps" / "00000001.pfm").read_bytes()
    header, data = raw[: raw.index(b"-1.0\n") + 5], raw[raw.index(b"-1.0\n") + 5 :]
    assert header == b"Pf\n64 48\n-1.0\n"
    rows = torch.frombuffer(bytearray(data), dtype=torch.float32).view(48, 64).flip(0)
    assert scene.depth is not None
    assert torch.equal(rows, scene.depth[1])
    with pytest.raises(FileExistsError):
        write_blendedmvs(scene, tmp_path)


def test_the_blendedmvs_loader_gives_a_written_scene_back(tmp_path: Path) -> None:
    scene = scenes()[3]
    write_blendedmvs(scene, tmp_path)
    read = BlendedMVS(tmp_path, "all", unit="file")[0]
    assert scene.depth is not None and scene.world_to_camera is not None
    assert scene.intrinsics is not None and read.depth is not None
    assert read.world_to_camera is not None and read.intrinsics is not None
    assert torch.equal(read.depth, scene.depth)
    torch.testing.assert_close(read.world_to_camera, scene.world_to_camera, rtol=0, atol=1e-6)
    torch.testing.assert_close(read.intrinsics, scene.intrinsics, rtol=0, atol=1e-4)
    assert float((read.images - scene.images).abs().mean()) < 0.02  # JPEG


@pytest.mark.parametrize(
    ("changes", "named"),
    [({"views": 0}, "views=0"), ({"views": 99}, "views=99"), ({"count": 0}, "count=0")],
)
def test_impossible_sizes_are_refused(changes: dict[str, int], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        scenes(**changes)


def test_an_unknown_split_is_refused() -> None:
    with pytest.raises(ValueError, match="train, validation, test"):
        scenes("dev")


def test_a_scene_outside_the_set_is_refused() -> None:
    with pytest.raises(IndexError, match="0 to 5"):
        scenes()[6]


@pytest.mark.parametrize("part", ["depth", "valid", "world_to_camera", "intrinsics"])
def test_parts_of_a_scene_that_do_not_fit_its_images_are_refused(part: str) -> None:
    scene = scenes()[0]
    value = getattr(scene, part)
    with pytest.raises((ValueError, TypeError), match=rf"{part} has 2 views; images|Type-check"):
        replace(scene, **{part: value[:2]})
    if part in ("depth", "valid"):
        with pytest.raises((ValueError, TypeError), match=rf"{part} is \(48, 63\)|Type-check"):
            replace(scene, **{part: value[..., :-1]})


@pytest.mark.parametrize(
    ("split", "index", "seed", "numbers"),
    [
        ("test", 0, 0, [3.7128, 0.4757, 0.2550, 22.3170, -0.4159]),
        ("train", 3, 1, [2.9385, 0.4108, 0.2709, 20.0195, 0.0683]),
    ],
)
def test_old_seeds_keep_their_scenes(
    split: str, index: int, seed: int, numbers: list[float]
) -> None:
    scene = SyntheticScenes(split, count=9, views=2, height=24, width=32, seed=seed)[index]
    assert scene.depth is not None and scene.intrinsics is not None
    assert scene.world_to_camera is not None
    found = (
        scene.depth.mean(),
        scene.images.mean(),
        scene.images.std(),
        scene.intrinsics[0, 0, 0],
        scene.world_to_camera[1, 0, 3],
    )
    assert [float(x) for x in found] == pytest.approx(numbers, abs=2e-3)
