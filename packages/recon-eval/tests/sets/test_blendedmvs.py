"""The BlendedMVS loader: splits, views, units, and what is missing."""

from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import pytest
import torch

from recon_eval import data, formats, pose
from recon_eval.sets.blendedmvs import official_scenes

TRAIN = "5c1f33f1d33e1f2e4aa6dda4"
VALIDATION = "5b7a3890fc8fcf6781e2593a"
Make = Callable[..., Path]


def test_the_official_lists_are_disjoint_and_complete() -> None:
    train, validation = official_scenes("train"), official_scenes("validation")
    assert (len(train), len(validation)) == (106, 7)
    assert not train & validation
    assert all(len(name) == 24 and int(name, 16) for name in train | validation)
    joined = {k: "\n".join(sorted(v)) + "\n" for k, v in (("t", train), ("v", validation))}
    assert {k: sha256(text.encode()).hexdigest()[:16] for k, text in joined.items()} == {
        "t": "b78af64839d03250",  # of the lists as published, sorted
        "v": "16d9844fab302b88",
    }


def test_splits_hold_their_official_scenes_only(make_blendedmvs: Make) -> None:
    root = make_blendedmvs(TRAIN, VALIDATION, "mine")
    for split, names in (("train", [TRAIN]), ("validation", [VALIDATION])):
        assert [scene.name for scene in map_items(data.BlendedMVS(root, split))] == names
    assert len(data.BlendedMVS(root, "all")) == 3
    assert [s.name for s in map_items(data.BlendedMVS(root, "held_out"))] == [VALIDATION, "mine"]
    for split in ("validation", "held_out"):
        with pytest.raises(ValueError, match=f"{TRAIN}: by the official lists .* split '{split}'"):
            data.BlendedMVS(root, split, scenes=[TRAIN])
    assert len(data.BlendedMVS(root, "all", scenes=["mine"])) == 1


def map_items(dataset: data.BlendedMVS) -> list[data.Scene]:
    return [dataset[i] for i in range(len(dataset))]


def test_a_tree_without_official_scenes_says_what_to_do(make_blendedmvs: Make) -> None:
    root = make_blendedmvs("mine")
    with pytest.raises(ValueError, match=r"none is of split 'validation'.*split='held_out'"):
        data.BlendedMVS(root, "validation")
    assert len(data.BlendedMVS(root, "held_out")) == 1


def test_training_scenes_alone_leave_nothing_to_evaluate(make_blendedmvs: Make) -> None:
    said = r"all are training scenes.*: give a folder with others$"
    with pytest.raises(ValueError, match=said):
        data.BlendedMVS(make_blendedmvs(TRAIN), "held_out")


def test_all_frames_in_order_with_depth_validity_and_cameras(make_blendedmvs: Make) -> None:
    scene = data.BlendedMVS(make_blendedmvs("mine"), "all", unit="file")[0]
    assert scene.images.shape == (5, 3, 6, 8)
    assert scene.depth is not None and scene.valid is not None
    assert torch.equal(scene.valid, scene.depth > 0)
    assert [int((~mask).sum()) for mask in scene.valid] == [1, 2, 3, 4, 5]
    assert scene.intrinsics is not None
    assert scene.intrinsics[0, :2, 2].tolist() == [4.0, 3.0]  # half a pixel from 3.5, 2.5


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    "tail", ["", "2.5 0.1", "2.5 9.5", "2.5 0.1 128", "2.5 0.1 128 15.2", "-1 0.1 128 3 ", "0 0"]
)
def test_a_scene_does_not_depend_on_the_dialect_of_its_cameras(
    make_blendedmvs: Make, tail: str
) -> None:
    scene = data.BlendedMVS(make_blendedmvs("mine", tail=tail), "held_out")[0]
    assert scene.world_to_camera is not None and scene.depth is not None
    angles = pose.evaluate(scene.world_to_camera, scene.world_to_camera)
    assert angles.auc[3] == 1
    assert float(scene.depth[scene.valid].median()) == pytest.approx(1, rel=0.3)


def test_the_unit_is_the_median_depth_whichever_views_are_chosen(make_blendedmvs: Make) -> None:
    root = make_blendedmvs("mine")
    raw, scaled = (data.BlendedMVS(root, "all", unit=u)[0] for u in ("file", "median_depth"))
    assert raw.depth is not None and raw.valid is not None and scaled.depth is not None
    medians = torch.tensor(
        [float(d[m].quantile(0.5)) for d, m in zip(raw.depth, raw.valid, strict=True)]
    )
    factor = 1 / medians.quantile(0.5)
    assert torch.allclose(scaled.depth, raw.depth * factor, rtol=1e-5)
    assert scaled.world_to_camera is not None and raw.world_to_camera is not None
    expected = raw.world_to_camera[:, :, 3] * factor
    assert torch.allclose(scaled.world_to_camera[:, :, 3], expected, rtol=1e-5)
    for seed in range(4):
        few = data.BlendedMVS(root, "all", views=2, seed=seed)[0]
        assert few.depth is not None
        assert any(torch.equal(few.depth[0], d) for d in scaled.depth)


def test_a_scene_in_other_units_is_the_same_scene(make_blendedmvs: Make, tmp_path: Path) -> None:
    small = data.BlendedMVS(make_blendedmvs("a"), "all")[0]
    for path in (tmp_path / "root/a").rglob("*"):
        if path.suffix == ".txt" and path.name != "pair.txt":
            path.unlink()
    import shutil

    shutil.rmtree(tmp_path / "root")
    large = data.BlendedMVS(make_blendedmvs("a", scale=200.0), "all")[0]
    assert small.depth is not None and large.depth is not None
    assert torch.allclose(small.depth, large.depth, rtol=1e-5)
    assert small.world_to_camera is not None and large.world_to_camera is not None
    assert torch.allclose(small.world_to_camera, large.world_to_camera, atol=1e-5)


def test_views_are_chosen_by_pairs_and_repeatably(make_blendedmvs: Make) -> None:
    root = make_blendedmvs("mine", views=9)
    dataset = data.BlendedMVS(root, "all", views=3, samples=6, seed=1)
    assert len(dataset) == 6
    again = data.BlendedMVS(root, "all", views=3, samples=6, seed=1)
    chosen = [[int(frame.name) for frame in dataset.frames(i)] for i in range(6)]
    assert chosen == [[int(frame.name) for frame in again.frames(i)] for i in range(6)]
    assert len({tuple(views) for views in chosen}) > 1
    for views in chosen:  # scores fall with the distance of the numbers, so neighbors win
        assert max(views) - min(views) == 2
    assert dataset[2].name == "mine-2"


def test_more_views_than_pairs_connect_are_refused(make_blendedmvs: Make) -> None:
    root = make_blendedmvs("mine")
    (root / "mine/cams/pair.txt").write_text("2\n0\n1 1 5.0\n1\n1 0 5.0\n")
    with pytest.raises(ValueError, match=r"pair\.txt connects .* 4 views were asked for"):
        data.BlendedMVS(root, "all", views=4)[0]


def test_frames_without_bytes_are_left_out_and_listed(make_blendedmvs: Make) -> None:
    root = make_blendedmvs("mine")
    (root / "mine/rendered_depth_maps/00000003.pfm").write_bytes(b"")
    dataset = data.BlendedMVS(root, "all")
    assert dataset.scenes[0].empty == ["00000003"]
    assert dataset[0].num_views == 4


def test_what_a_mac_leaves_beside_files_is_no_frame(make_blendedmvs: Make) -> None:
    root = make_blendedmvs("a", views=3)
    for file in [path for path in root.rglob("*") if path.is_file()]:
        file.with_name(f"._{file.name}").write_bytes(b"\0\5\x16\7")
    assert data.BlendedMVS(root, "all")[0].num_views == 3
    assert len(formats.read_cameras(root / "a/cams")[1]) == 3


def test_a_map_without_depth_is_a_view_without_valid_pixels(make_blendedmvs: Make) -> None:
    root = make_blendedmvs("mine")
    path = root / "mine/rendered_depth_maps/00000003.pfm"
    formats.write_pfm(path, 0 * formats.read_pfm(path))
    scene = data.BlendedMVS(root, "all")[0]
    assert scene.valid is not None and not scene.valid[3].any()


def test_a_scene_without_any_depth_has_a_way_out_that_needs_no_argument(
    make_blendedmvs: Make,
) -> None:
    root = make_blendedmvs("mine")
    for path in (root / "mine/rendered_depth_maps").iterdir():
        formats.write_pfm(path, 0 * formats.read_pfm(path))
    said = r"mine: no depth map has a valid pixel; .*: copy it again, or take the scene out$"
    with pytest.raises(ValueError, match=said):
        data.BlendedMVS(root, "held_out")[0]


@pytest.mark.parametrize(
    ("damage", "error", "rule"),
    [
        ("blended_images/00000001.jpg", FileNotFoundError, "does not exist"),
        ("rendered_depth_maps/00000001.pfm", FileNotFoundError, "does not exist"),
    ],
)
def test_missing_files_are_named(
    make_blendedmvs: Make, damage: str, error: type[Exception], rule: str
) -> None:
    root = make_blendedmvs("mine")
    (root / "mine" / damage).unlink()
    with pytest.raises(error, match=rule):
        data.BlendedMVS(root, "all")


def test_a_truncated_map_is_named(make_blendedmvs: Make) -> None:
    root = make_blendedmvs("mine")
    path = root / "mine/rendered_depth_maps/00000002.pfm"
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(ValueError, match=r"00000002\.pfm.*truncated"):
        data.BlendedMVS(root, "all")[0]


def test_a_path_that_does_not_exist_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="does not exist"):
        data.BlendedMVS(tmp_path / "nowhere", "all")
    with pytest.raises(ValueError, match="no folder in it has blended_images"):
        data.BlendedMVS(tmp_path, "all")


def test_resampling_keeps_what_a_pixel_sees(make_blendedmvs: Make) -> None:
    root = make_blendedmvs("mine")
    whole = data.BlendedMVS(root, "all")[0]
    double = data.resample(whole, height=12, width=16)
    assert whole.depth is not None and double.depth is not None
    assert torch.equal(double.depth[:, ::2, ::2], whole.depth)
    assert whole.intrinsics is not None and double.intrinsics is not None
    assert torch.allclose(double.intrinsics[:, :2], 2 * whole.intrinsics[:, :2])
    square = data.BlendedMVS(root, "all", size=(6, 6))[0]
    assert square.depth is not None and square.intrinsics is not None
    assert torch.equal(square.depth, whole.depth[:, :, 1:7])
    assert torch.equal(square.images, whole.images[..., 1:7])
    assert torch.allclose(square.intrinsics[:, 0, 2], whole.intrinsics[:, 0, 2] - 1)
