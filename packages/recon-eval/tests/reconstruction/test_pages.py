"""The pages of a reconstruction are whole in themselves, and say what the scene holds."""

import base64
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, features

from recon_eval.formats import PointCloud, read_colmap_cameras, read_transforms
from recon_eval.formats.images import image_size
from recon_eval.reconstruction import (
    WRITERS,
    Model,
    PointOptions,
    Reconstruction,
    View,
    gather_points,
    link_photos,
    upright,
    write_page,
)
from recon_eval.reconstruction.page import quantized, ranks


def blocks(page: str) -> dict[str, str]:
    return dict(re.findall(r'<script type="[\w/]+" id="([\w-]+)">(.*?)</script>', page, re.S))


def test_the_scene_page_asks_for_nothing(written: Path) -> None:
    page = (written / "scene.html").read_text()
    assert not re.findall(r"""(?:src|href)\s*=\s*["'](?!data:)""", page)
    assert "http" not in page.replace("http-equiv", "")
    assert "default-src 'none'" in page
    images = [
        camera["image"] for camera in json.loads(blocks(page)["scene"])["models"][0]["cameras"]
    ]
    assert all(image.startswith("data:image/jpeg;base64,") for image in images)


def test_names_cannot_end_the_data_of_the_page(
    tmp_path: Path, cloud: PointCloud, views: list[View]
) -> None:
    name = "</script><b>.jpg"
    evil = [View(**vars(views[0]) | {"name": name})]
    write_page(tmp_path / "s.html", [Model(label=name, cloud=cloud, views=evil)], title=name)
    page = (tmp_path / "s.html").read_text()
    scene = json.loads(blocks(page)["scene"])
    assert scene["models"][0]["cameras"][0]["name"] == name
    assert "<title>&lt;/script&gt;" in page
    assert page.count("<script") == page.count("</script>") == 5


def test_a_page_thins_its_points(tmp_path: Path, cloud: PointCloud, views: list[View]) -> None:
    models = [Model(label=label, cloud=cloud, views=views) for label in ("teacher", "student")]
    write_page(tmp_path / "s.html", models, title="two", max_points=1000)
    data = blocks((tmp_path / "s.html").read_text())
    for number, model in enumerate(json.loads(data["scene"])["models"]):
        assert model["count"] <= 1000
        assert len(base64.b64decode(data[f"colors-{number}"])) == 3 * model["count"]


def test_a_page_without_points_is_refused(tmp_path: Path, views: list[View]) -> None:
    none = PointCloud(
        points=np.empty((0, 3), np.float32),
        colors=np.empty((0, 3), np.uint8),
        confidence=np.empty(0, np.float32),
    )
    with pytest.raises(ValueError, match="reconstructions without points"):
        write_page(tmp_path / "s.html", [Model(label="a", cloud=none, views=views)], title="a")
    assert not list(tmp_path.iterdir())


def test_up_in_the_photos_is_up_on_the_page(views: list[View]) -> None:
    turn = upright(views)
    np.testing.assert_allclose(turn @ turn.T, np.eye(3), atol=1e-9)
    assert np.linalg.det(turn) == pytest.approx(1)
    for view in views:
        up, ahead = -view.camera_to_world[:3, 1], view.camera_to_world[:3, 2]
        assert (turn @ up)[1] > 0.5
        assert (turn @ ahead)[2] < 0


@given(st.integers(2, 100), st.integers(0, 2**32 - 1))
def test_quantized_places_stay_within_half_a_step(count: int, seed: int) -> None:
    xyz = np.random.default_rng(seed).normal(size=(count, 3)) * [1, 100, 1e-3]
    places, low, extent = quantized(xyz)
    back = low + places / 65535 * extent
    assert (np.abs(back - xyz) <= extent / 65535 * 0.5001).all()


@given(st.lists(st.integers(0, 9), min_size=1, max_size=200))
def test_ranks_order_as_confidence_does(values: list[int]) -> None:
    confidence = np.array(values, dtype=np.float32)
    found = ranks(confidence)
    order = np.argsort(confidence, kind="stable")
    assert (np.diff(found[order].astype(int)) >= 0).all()
    assert len(set(zip(values, found.tolist(), strict=True))) == len(set(values))


def test_the_report_lists_the_files_and_shows_every_photo(written: Path) -> None:
    page = (written / "report.html").read_text()
    links = re.findall(r"href='([^']+)'", page)
    assert {"points.ply", "scene.glb", "scene.html", "transforms.json"} <= set(links) - {""}
    assert all((written / link).exists() for link in links if not link.startswith("data:"))
    assert page.count("<polygon") == 3
    assert page.count("loading='lazy'") == 3 * 3
    assert "http" not in page


def test_a_report_counts_its_photos_and_says_what_gray_is(
    tmp_path: Path, cloud: PointCloud, views: list[View]
) -> None:
    for count, said in ((1, "1 photo, "), (2, "2 photos, ")):
        scene = Reconstruction(title="s", cloud=cloud, views=views[:count], photos=tmp_path)
        WRITERS["report"](tmp_path, scene)
        page = (tmp_path / "report.html").read_text(encoding="utf-8")
        assert f"{said}{len(cloud):,} points" in page
        assert "Gray pixels have no point" in page


def test_a_report_without_points_shows_the_cameras(views: list[View], tmp_path: Path) -> None:
    unseen = [replace(view, keep=np.zeros(view.depth.shape, bool)) for view in views]
    cloud = gather_points(unseen, PointOptions())
    made = Reconstruction(title="none", cloud=cloud, views=unseen, photos=Path("."))
    WRITERS["report"](tmp_path, made)
    page = (tmp_path / "report.html").read_text()
    assert ", 0 points" in page
    assert page.count("<polygon") == len(views)


def test_photos_are_linked_and_turned_ones_are_written_upright(
    tmp_path: Path, views: list[View]
) -> None:
    (tmp_path / "photos/sub folder").mkdir(parents=True)
    Image.new("RGB", (40, 30)).save(tmp_path / "photos/plain.jpg")
    turned = Image.new("RGB", (40, 30))
    exif = turned.getexif()
    exif[0x0112] = 6
    turned.save(tmp_path / "photos/sub folder/turned.jpg", exif=exif)
    Image.new("CMYK", (40, 30)).save(tmp_path / "photos/print.jpg")
    names = ["plain.jpg", "sub folder/turned.jpg", "print.jpg"]
    seen = [View(**vars(views[0]) | {"name": name}) for name in names]
    for _ in range(2):  # what is there stays
        link_photos(tmp_path / "out", seen, Path("../photos"))
    out = tmp_path / "out/images"
    assert [(out / name).is_symlink() for name in names] == [True, False, False]
    assert [Image.open(out / name).size for name in names] == [(40, 30), (30, 40), (40, 30)]
    assert {Image.open(out / name).mode for name in names} == {"RGB"}
    (tmp_path / "out").rename(tmp_path / "moved")
    assert Image.open(tmp_path / "moved/images/plain.jpg").size == (40, 30)


def test_what_is_transparent_is_white_beside_the_cameras(
    tmp_path: Path, views: list[View], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "photos").mkdir()
    names = ["alpha.png", "key.png", "palette.png"]
    clear = Image.new("RGBA", (40, 30), (200, 0, 0, 0))
    clear.paste((0, 0, 200, 255), (0, 0, 20, 30))
    clear.save(tmp_path / "photos/alpha.png")
    clear.convert("RGB").save(tmp_path / "photos/key.png", transparency=(200, 0, 0))
    palette = clear.convert("RGB").convert("P", palette=Image.Palette.ADAPTIVE)
    palette.save(tmp_path / "photos/palette.png", transparency=palette.getpixel((39, 0)))
    opened, really = [], Image.open
    monkeypatch.setattr(Image, "open", lambda path, **k: opened.append(path) or really(path, **k))
    seen = [replace(views[0], name=name) for name in names]
    link_photos(tmp_path / "out", seen, Path("../photos"))
    assert len(opened) == 2 * len(names)  # to look what it is, and to read it
    for name in names:
        with Image.open(tmp_path / "out/images" / name) as image:
            assert image.mode == "RGB"
            assert "transparency" not in image.info
            assert image.getpixel((5, 5)) == (0, 0, 200)
            assert image.getpixel((35, 5)) == (255, 255, 255)


@pytest.mark.skipif(not features.check("avif"), reason="this Pillow reads no AVIF")
@pytest.mark.parametrize("orientation", [1, 6])
def test_photos_that_few_programs_read_are_written_as_jpeg(
    tmp_path: Path, views: list[View], orientation: int
) -> None:
    photo = Image.new("RGB", (40, 30), (200, 40, 90))
    names = ["0.jpg", "0.avif", "deep/1.AVIF", "2.webp", "3"]
    kinds = ["JPEG", "AVIF", "AVIF", "WEBP", "JPEG"]
    for name, kind in zip(names, kinds, strict=True):
        (tmp_path / "photos" / name).parent.mkdir(parents=True, exist_ok=True)
        exif = Image.Exif()  # one each: writing AVIF empties it
        exif[0x0112] = orientation
        photo.save(tmp_path / "photos" / name, format=kind, exif=exif)
    size = image_size(tmp_path / "photos/0.avif")
    assert size == ((30, 40) if orientation == 1 else (40, 30))
    ones = np.ones(size, bool)
    seen = [
        replace(views[0], name=name, original_size=size[::-1], mask=lambda: ones) for name in names
    ]
    made = Reconstruction(
        title="few", cloud=gather_points(seen, PointOptions()), views=seen, photos=Path("../photos")
    )
    for _ in range(2):  # what is there stays
        for form in ("transforms", "colmap"):
            WRITERS[form](tmp_path / "out", made)
    expected = ["0.jpg", "0_.jpg", "deep/1.jpg", "2.jpg", "3.jpg"]
    cameras = read_colmap_cameras(tmp_path / "out/sparse/0")
    frames = read_transforms(tmp_path / "out/transforms.json")
    assert [camera.name for camera in cameras] == expected
    assert [camera.name for camera in frames] == [f"images/{name}" for name in expected]
    for name in expected:
        image = Image.open(tmp_path / "out/images" / name)
        assert (image.format, image.size) == ("JPEG", size[::-1])
        assert image.getexif().get(0x0112, 1) == 1
        assert np.abs(np.asarray(image, int) - (200, 40, 90)).max() < 12
        assert (tmp_path / "out/masks" / f"{name}.png").is_file()
    files = {path for path in (tmp_path / "out/images").rglob("*") if path.is_file()}
    assert files == {tmp_path / "out/images" / name for name in expected}


def test_an_image_is_written_in_the_format_of_its_name(tmp_path: Path, views: list[View]) -> None:
    (tmp_path / "photos").mkdir()
    Image.new("RGB", (40, 30)).save(tmp_path / "photos/a.png", format="WEBP")
    (tmp_path / "out/images").mkdir(parents=True)
    (tmp_path / "out/images/a.png").symlink_to("../../where a photo was.png")
    link_photos(tmp_path / "out", [replace(views[0], name="a.png")], Path("../photos"))
    assert Image.open(tmp_path / "out/images/a.png").format == "PNG"
    assert not (tmp_path / "where a photo was.png").exists()


@pytest.mark.parametrize(
    ("mode", "turn", "compression"),
    [("L", 1, "tiff_lzw"), ("RGBA", 1, "tiff_adobe_deflate"), ("RGB", 6, "tiff_lzw")],
)
def test_a_compressed_tiff_is_written_upright_in_rgb(
    tmp_path: Path, views: list[View], mode: str, turn: int, compression: str
) -> None:
    (tmp_path / "photos").mkdir()
    exif = Image.Exif()
    exif[0x0112] = turn
    photo = Image.new("RGB", (40, 30), (90, 90, 90)).convert(mode)
    photo.save(tmp_path / "photos/a.tif", compression=compression, exif=exif)
    link_photos(tmp_path / "out", [replace(views[0], name="a.tif")], Path("../photos"))
    image = Image.open(tmp_path / "out/images/a.tif")
    assert image.size == ((40, 30) if turn == 1 else (30, 40))
    assert (image.format, image.mode, image.getpixel((5, 5))) == ("TIFF", "RGB", (90, 90, 90))


def test_a_photo_that_is_gone_is_named(tmp_path: Path, views: list[View]) -> None:
    with pytest.raises(ValueError, match=r"a\.jpg is gone"):
        link_photos(tmp_path, views, Path("nowhere"))


TRANSFORMS: dict[str, Any] = {  # what nerfstudio's dataparser reads, with its types
    "type": "object",
    "required": ["camera_model", "frames", "ply_file_path"],
    "properties": {
        "camera_model": {"enum": ["OPENCV", "OPENCV_FISHEYE", "EQUIRECTANGULAR"]},
        "ply_file_path": {"type": "string"},
        "frames": {
            "type": "array",
            "minItems": 1,
            "items": {
                "type": "object",
                "required": ["file_path", "transform_matrix", "fl_x", "fl_y", "cx", "cy", "w", "h"],
                "properties": {
                    "file_path": {"type": "string", "not": {"pattern": "^/"}},
                    "w": {"type": "integer", "minimum": 1},
                    "h": {"type": "integer", "minimum": 1},
                    **{n: {"type": "number"} for n in ("fl_x", "fl_y", "cx", "cy", "k1", "k2")},
                    "transform_matrix": {
                        "type": "array",
                        "minItems": 4,
                        "maxItems": 4,
                        "items": {
                            "type": "array",
                            "minItems": 4,
                            "maxItems": 4,
                            "items": {"type": "number"},
                        },
                    },
                },
                "additionalProperties": {"type": "number"},
            },
        },
    },
    "additionalProperties": False,
}


def test_transforms_fulfil_the_schema_of_nerfstudio(written: Path) -> None:
    document = json.loads((written / "transforms.json").read_text())
    jsonschema.validate(document, TRANSFORMS)
    del document["frames"][0]["fl_x"]
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(document, TRANSFORMS)
