"""From photos to a start for splats: what trainers read is there, and says the same thing twice."""

import json
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pycolmap
import pytest
import torch
from PIL import Image

from recon_eval.formats import read_ply

# nerfstudio's data conventions: docs.nerf.studio/quickstart/data_conventions.html
LENS = {name: {"type": "number"} for name in ("fl_x", "fl_y", "cx", "cy", "k1", "k2", "p1", "p2")}
LENS |= {name: {"type": "integer", "minimum": 1} for name in ("w", "h")}
ROW = {"type": "array", "items": {"type": "number"}, "minItems": 4, "maxItems": 4}
TRANSFORMS = {
    "type": "object",
    "required": ["camera_model", "frames", "ply_file_path"],
    "additionalProperties": False,
    "properties": LENS
    | {
        "camera_model": {"enum": ["OPENCV", "OPENCV_FISHEYE"]},
        "ply_file_path": {"type": "string"},
        "frames": {
            "type": "array",
            "minItems": 1,
            "items": {
                "type": "object",
                "required": ["file_path", "transform_matrix"],
                "additionalProperties": False,
                "properties": LENS
                | {
                    "file_path": {"type": "string"},
                    "mask_path": {"type": "string"},
                    "transform_matrix": {
                        "type": "array", "items": ROW, "minItems": 4, "maxItems": 4,
                    },
                },
            },
        },
    },
}  # fmt: skip


@pytest.fixture
def out(lite3r: Any, photos: Path, tmp_path: Path) -> Path:
    """What `lite3r reconstruct` writes of four photos by one camera, one of them on its side."""
    masks = tmp_path / "masks"
    masks.mkdir()
    for photo in photos.iterdir():
        with Image.open(photo) as image:
            mask = Image.new("L", image.size, 255)  # of a turned photo: as it is stored
        mask.paste(0, (0, 0, mask.width // 3, mask.height // 3))
        mask.save(masks / f"{photo.name}.png")
    answer = lite3r(
        *("reconstruct", photos, "--out", "out", "--size", "56", "--weights", "random"),
        *("--shared-camera", "--masks", masks, "--formats", "colmap", "transforms"),
        *("--edge-tolerance", "100"),
    )
    assert answer.code == 0, answer.err
    return tmp_path / "out"


def test_what_trainers_read_is_there_and_says_the_same_twice(out: Path) -> None:
    model = pycolmap.Reconstruction(str(out / "sparse/0"))
    document = json.loads((out / "transforms.json").read_text())
    jsonschema.validate(document, TRANSFORMS)

    # one camera for each size of photo, of one focal length, square pixels, bent by nothing
    lenses = {c.camera_id: c for c in model.cameras.values()}
    assert {c.model.name for c in lenses.values()} == {"PINHOLE"}
    assert len({(c.width, c.height) for c in lenses.values()}) == len(lenses) == 3
    assert len({float(f) for c in lenses.values() for f in c.params[:2]}) == 1

    # every image is there, upright, at the size of its camera, and so is its mask
    for image in model.images.values():
        camera = lenses[image.camera_id]
        for path in (out / "images" / image.name, out / "masks" / f"{image.name}.png"):
            with Image.open(path) as picture:
                assert picture.size == (camera.width, camera.height)
                assert picture.getexif().get(0x0112, 1) == 1

    # every point is seen by an image at a pixel that its mask keeps
    assert model.num_points3D() > 100
    for point in model.points3D.values():
        assert len(point.track.elements) >= 1
    assert max(len(p.track.elements) for p in model.points3D.values()) > 1
    for image in model.images.values():
        mask = np.asarray(Image.open(out / "masks" / f"{image.name}.png"))
        pixels = np.array([p.xy for p in image.points2D], dtype=int).reshape(-1, 2)
        assert (mask[pixels[:, 1], pixels[:, 0]] > 0).all()

    # transforms.json: the same images, masks, cameras and points, along another camera's axes
    by_name = {image.name: image for image in model.images.values()}
    frames = document["frames"]
    assert {f["file_path"].removeprefix("images/") for f in frames} == set(by_name)
    for frame in frames:
        image = by_name[frame["file_path"].removeprefix("images/")]
        assert (out / frame["mask_path"]).is_file()
        pose = np.array(frame["transform_matrix"]) @ np.diag([1, -1, -1, 1])
        np.testing.assert_allclose(
            np.linalg.inv(pose)[:3], image.cam_from_world().matrix(), atol=1e-8
        )
        lens = document | frame
        calibration = image.camera.calibration_matrix()
        assert [lens["fl_x"], lens["fl_y"], lens["cx"], lens["cy"]] == [
            calibration[0, 0], calibration[1, 1], calibration[0, 2], calibration[1, 2],
        ]  # fmt: skip
    cloud = read_ply(out / document["ply_file_path"])
    same = np.array([model.points3D[i + 1].xyz for i in range(len(cloud))])
    np.testing.assert_allclose(cloud.points, same, rtol=1e-5, atol=1e-5)


AS_THEY_ARE: dict[str, Any] = {
    "orientation_method": "none", "center_method": "none", "auto_scale_poses": False,
    "eval_mode": "all", "downscale_factor": 1,
}  # fmt: skip


def nerfstudio(kind: str, **words: Any) -> Any:
    """What nerfstudio's own parser reads of a folder, every camera where it is written."""
    parser = pytest.importorskip(
        f"nerfstudio.data.dataparsers.{kind}_dataparser",
        reason="nerfstudio is not installed here; `nox -s splats` brings it",
    )
    config = getattr(parser, f"{kind.capitalize()}DataParserConfig")
    return config(**AS_THEY_ARE, **words).setup().get_dataparser_outputs("train")


def sightings(model: pycolmap.Reconstruction, name: str) -> tuple[np.ndarray, np.ndarray]:
    """The pixels (x, y) at which an image sees points, and those points."""
    (image,) = (image for image in model.images.values() if image.name == name)
    seen = [p for p in image.points2D if p.has_point3D()]
    points = [model.points3D[p.point3D_id].xyz for p in seen]
    return np.array([p.xy for p in seen]), np.array(points)


@pytest.mark.parametrize("kind", ["nerfstudio", "colmap"])
def test_nerfstudios_own_rays_meet_the_points_that_its_pixels_see(out: Path, kind: str) -> None:
    options: dict[str, Any] = {"load_3D_points": True}
    if kind == "colmap":
        options = {"colmap_path": Path("sparse/0"), "max_2D_matches_per_3D_point": -1}
        options |= {"assume_colmap_world_coordinate_convention": False}
    read = nerfstudio(kind, data=out, **options)
    model = pycolmap.Reconstruction(str(out / "sparse/0"))
    names = [str(path.relative_to(out / "images")) for path in read.image_filenames]
    assert sorted(names) == sorted(image.name for image in model.images.values())
    for i, path in enumerate(read.image_filenames):
        with Image.open(path) as picture:
            assert picture.size == (int(read.cameras.width[i]), int(read.cameras.height[i]))
        pixels, seen = sightings(model, names[i])
        assert len(pixels) > 100
        coordinates = torch.tensor(pixels[:, ::-1].copy(), dtype=torch.float32)
        rays = read.cameras.generate_rays(i, coords=coordinates)
        away = torch.tensor(seen, dtype=torch.float32) - rays.origins
        missed = torch.linalg.cross(away, rays.directions).norm(dim=-1) / away.norm(dim=-1)
        assert (torch.linalg.vecdot(away, rays.directions) > 0).all()
        assert float(missed.max()) < 0.02 / float(read.cameras.fx[i])  # hundredths of a pixel
    found = {tuple(xyz) for xyz in read.metadata["points3D_xyz"].numpy().round(4).tolist()}
    points = np.array([point.xyz for point in model.points3D.values()], np.float32)
    assert found == {tuple(xyz) for xyz in points.round(4).tolist()}
    colors = {tuple(rgb) for rgb in read.metadata["points3D_rgb"].tolist()}
    assert colors == {tuple(point.color.tolist()) for point in model.points3D.values()}


def test_nerfstudio_finds_a_mask_of_every_image_at_its_size(out: Path) -> None:
    read = nerfstudio("nerfstudio", data=out)
    assert len(read.mask_filenames) == len(read.image_filenames)
    for mask, image in zip(read.mask_filenames, read.image_filenames, strict=True):
        assert mask.name == f"{image.name}.png"
        with Image.open(mask) as a, Image.open(image) as b:
            assert a.size == b.size
            assert set(np.unique(np.asarray(a)).tolist()) == {0, 255}


def test_masks_that_do_not_fit_are_refused_in_one_sentence(
    lite3r: Any, photos: Path, tmp_path: Path
) -> None:
    (tmp_path / "masks").mkdir()
    command = ("reconstruct", photos, "--weights", "random", "--size", "56", "--masks")
    answer = lite3r(*command, tmp_path / "masks")
    assert answer.code == 2
    assert "must hold a mask for every photo, and lacks those of 1.png, 2.jpg" in answer.err
    for photo in photos.iterdir():
        Image.new("L", (30, 30), 255).save(tmp_path / "masks" / f"{photo.name}.png")
    answer = lite3r(*command, tmp_path / "masks")
    assert answer.code == 2
    assert "1.png.png: is 30 x 30 pixels; it must be 90 x 60, as 1.png is" in answer.err
    assert not list((tmp_path / "reconstructions").glob("*"))
