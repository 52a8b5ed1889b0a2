"""Known cameras: read from what other programs write, matched by name, refused when foreign."""

import json
from pathlib import Path

import numpy as np
import pycolmap
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lite3r.export import View, write_colmap, write_npz, write_transforms
from lite3r.export.reconstruction import PointCloud
from lite3r.inputs import KnownCamera, KnownCameras, match_cameras, read_cameras

NAMES = ["links/a.jpg", "rechts/a.jpg", "schön und gut.png"]


def rotation(seed: int) -> np.ndarray:
    q, r = np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)))
    q = q * np.sign(np.diag(r))
    return q * np.linalg.det(q)


def view(name: str, seed: int) -> View:
    lens = np.array([[90.0 + seed, 0, 41.5], [0, 95.0, 30.5], [0, 0, 1]])
    pose = np.concatenate([rotation(seed), [[seed], [0.5], [-2.0]]], axis=1)
    return View(
        name=name,
        image=np.zeros((30, 40, 3), np.uint8),
        depth=np.ones((30, 40), np.float32),
        confidence=np.ones((30, 40), np.float32),
        world_to_camera=pose,
        intrinsics=np.diag([0.5, 0.5, 1.0]) @ lens,
        original_intrinsics=lens,
        original_size=(80, 60),
    )


@pytest.fixture
def views() -> list[View]:
    return [view(name, seed) for seed, name in enumerate(NAMES)]


def same(known: KnownCameras, views: list[View], *, names: list[str]) -> None:
    assert [camera.name for camera in known.cameras] == names
    for camera, truth in zip(known.cameras, views, strict=True):
        np.testing.assert_allclose(camera.world_to_camera, truth.world_to_camera, atol=1e-9)
        np.testing.assert_allclose(camera.intrinsics, truth.original_intrinsics)
        assert camera.size == (80, 60)


@pytest.mark.parametrize("keep", ["bin", "txt"])
@pytest.mark.parametrize("where", [".", "sparse/0"])
def test_colmap_models_are_read_as_they_were_written(
    tmp_path: Path, views: list[View], keep: str, where: str
) -> None:
    cloud = PointCloud(
        xyz=np.zeros((1, 3), np.float32), rgb=np.zeros((1, 3), np.uint8), confidence=np.ones(1)
    )
    write_colmap(tmp_path / where, cloud, views)
    other = "txt" if keep == "bin" else "bin"
    for file in (tmp_path / where).glob(f"*.{other}"):
        file.unlink()
    same(read_cameras(tmp_path), views, names=NAMES)


def test_what_pycolmap_writes_is_read(tmp_path: Path, views: list[View]) -> None:
    """Its images carry 2-D points, and its cameras other models."""
    model = pycolmap.Reconstruction()
    for number, seen in enumerate(views, start=1):
        lens = seen.original_intrinsics
        camera = pycolmap.Camera(
            camera_id=number, model="PINHOLE", width=80, height=60,
            params=[lens[0, 0], lens[1, 1], lens[0, 2], lens[1, 2]],
        )  # fmt: skip
        model.add_camera_with_trivial_rig(camera)
        pose = pycolmap.Rigid3d(seen.world_to_camera)
        image = pycolmap.Image(name=seen.name, camera_id=number, image_id=number)
        image.points2D = pycolmap.Point2DList([pycolmap.Point2D(np.array([1.0, 2.0]))] * number)
        model.add_image_with_trivial_frame(image, pose)
    model.write(str(tmp_path))
    same(read_cameras(tmp_path), views, names=NAMES)
    binary = tmp_path / "images.bin"
    binary.write_bytes(binary.read_bytes()[:-30])
    with pytest.raises(ValueError, match=r"damaged|ends within"):
        read_cameras(tmp_path)


def test_transforms_are_read_as_they_were_written(tmp_path: Path, views: list[View]) -> None:
    write_transforms(tmp_path / "transforms.json", views)
    known = read_cameras(tmp_path)
    same(known, views, names=[f"images/{name}" for name in NAMES])
    assert read_cameras(tmp_path / "transforms.json").cameras[0].name == known.cameras[0].name


def test_blender_transforms_state_an_angle(tmp_path: Path) -> None:
    frame = {"file_path": "./train/r_0", "transform_matrix": np.eye(4).tolist()}
    document = {"camera_angle_x": np.pi / 2, "w": 80, "h": 60, "frames": [frame]}
    (tmp_path / "transforms.json").write_text(json.dumps(document))
    (camera,) = read_cameras(tmp_path).cameras
    np.testing.assert_allclose(camera.intrinsics, [[40, 0, 40], [0, 40, 30], [0, 0, 1]])
    np.testing.assert_allclose(camera.world_to_camera[:, :3], np.diag([1, -1, -1]))


def test_archives_are_read_as_they_were_written(tmp_path: Path, views: list[View]) -> None:
    write_npz(tmp_path / "prediction.npz", views)
    same(read_cameras(tmp_path / "prediction.npz"), views, names=NAMES)


def test_mvsnet_cameras_count_pixels_from_their_centres(tmp_path: Path) -> None:
    pose = np.eye(4)
    text = f"extrinsic\n{pose}\n\nintrinsic\n[[90 0 40] [0 90 30] [0 0 1]]\n\n1 0.1"
    (tmp_path / "00000003_cam.txt").write_text(text.translate(str.maketrans("[]", "  ")))
    (camera,) = read_cameras(tmp_path).cameras
    assert camera.name == "00000003"
    np.testing.assert_allclose(camera.intrinsics[:2, 2], [40.5, 30.5])


@pytest.mark.parametrize(
    ("file", "content", "part"),
    [
        ("transforms.json", "{", "no transforms.json"),
        ("transforms.json", '{"frames": []}', "no camera"),
        ("transforms.json", '{"frames": [{"file_path": "a"}]}', "transform_matrix"),
        ("cameras.npz", "no archive", "archive of cameras"),
        ("notes.md", "", "no cameras that are known"),
    ],
)
def test_damaged_files_are_refused(tmp_path: Path, file: str, content: str, part: str) -> None:
    (tmp_path / file).write_text(content)
    with pytest.raises(ValueError, match=part):
        read_cameras(tmp_path / file)


def test_distorted_cameras_are_refused_with_the_way_out(tmp_path: Path) -> None:
    (tmp_path / "cameras.txt").write_text("1 SIMPLE_RADIAL 80 60 90 40 30 0.1\n")
    (tmp_path / "images.txt").write_text("1 1 0 0 0 0 0 0 1 a.jpg\n\n")
    with pytest.raises(ValueError, match="image_undistorter"):
        read_cameras(tmp_path)
    (tmp_path / "cameras.txt").write_text("1 SIMPLE_RADIAL 80 60 90 40 30 0\n")
    assert read_cameras(tmp_path).cameras[0].intrinsics[1, 1] == 90


@settings(deadline=None, max_examples=40)
@given(st.binary(max_size=400))
def test_any_bytes_give_cameras_or_one_sentence(
    tmp_path_factory: pytest.TempPathFactory, data: bytes
) -> None:
    folder = tmp_path_factory.mktemp("model")
    for name in ("cameras.bin", "images.bin"):
        (folder / name).write_bytes(b"\1" + 7 * b"\0" + data)
    with pytest.raises((ValueError, OSError)):
        read_cameras(folder)


def known(*names: str, size: tuple[int, int] | None = (80, 60)) -> KnownCameras:
    cameras = tuple(
        KnownCamera(
            name=name,
            world_to_camera=np.eye(4)[:3],
            intrinsics=np.array([[90.0, 0, 40], [0, 90.0, 30], [0, 0, 1]]),
            size=size,
        )
        for name in names
    )
    return KnownCameras(source=Path("cameras"), cameras=cameras)


def paths(*names: str) -> list[Path]:
    return [Path("/photos") / name for name in names]


def test_photos_find_their_cameras_by_name_and_folder() -> None:
    matched = match_cameras(
        known("b/1.jpg", "a/1.jpg", "2.jpg"), paths("a/1.jpg", "b/1.jpg", "deep/2.jpg", "3.jpg")
    )
    assert [camera.name for camera in matched.cameras] == ["a/1.jpg", "b/1.jpg", "2.jpg"]
    assert matched.without == tuple(paths("3.jpg"))


def test_endings_differ_only_where_no_name_is_equal() -> None:
    matched = match_cameras(known("1.jpg", "1.png", "2"), paths("1.png", "2.jpg"))
    assert [camera.name for camera in matched.cameras] == ["1.png", "2"]


def test_cameras_of_other_images_are_refused_naming_both() -> None:
    with pytest.raises(ValueError, match=r"other images.*IMG_1.jpg.*photo.jpg"):
        match_cameras(known("IMG_1.jpg", "IMG_2.jpg"), paths("photo.jpg", "photo2.jpg"))


def test_a_name_that_fits_twice_is_refused() -> None:
    with pytest.raises(ValueError, match="fits several cameras"):
        match_cameras(known("a/1.jpg", "b/1.jpg"), paths("1.jpg", "c/2.jpg"))
    with pytest.raises(ValueError, match="fits several photos"):
        match_cameras(known("1.jpg"), paths("a/1.jpg", "b/1.jpg"))


def test_intrinsics_follow_the_size_of_the_photo_and_refuse_its_shape() -> None:
    (camera,) = known("a.jpg").cameras
    np.testing.assert_allclose(camera.of_size((160, 120))[:2], 2 * camera.intrinsics[:2])
    with pytest.raises(ValueError, match="turned by its EXIF tag"):
        camera.of_size((60, 80))
    with pytest.raises(ValueError, match="cropped, or is another image"):
        camera.of_size((80, 80))


def test_mirrored_cameras_are_refused() -> None:
    with pytest.raises(ValueError, match="mirrors"):
        KnownCamera(name="a", world_to_camera=np.diag([1.0, 1, -1, 1])[:3], intrinsics=np.eye(3))
