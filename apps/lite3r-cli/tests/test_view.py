"""`lite3r view` shows reconstructions, to this machine alone, or writes one file."""

import json
import socket
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lite3r import viewing
from lite3r.errors import UserError
from lite3r.export import Model, PointCloud, PointOptions, View, write_npz
from lite3r.viewing import Viewer, confident, open_viewer, read_models, rescaled, unit_ratio


@pytest.fixture
def two(tmp_path: Path, views: list[View]) -> list[Path]:
    """A teacher's and a student's reconstruction, the second in a unit half as long."""
    folders = [tmp_path / "teacher", tmp_path / "student"]
    write_npz(folders[0] / "prediction.npz", views)
    write_npz(folders[1] / "prediction.npz", rescaled(views, 2.0))
    return folders


@pytest.fixture
def server(views: list[View], cloud: PointCloud) -> Iterator[Any]:
    models = [Model(label=name, cloud=cloud, views=views) for name in ("teacher", "student")]
    server = open_viewer(models, host="localhost", port=0)
    yield server
    server.stop()


def test_units_are_brought_to_that_of_the_first(two: list[Path], views: list[View]) -> None:
    first, second = read_models(two, PointOptions())
    assert (first.label, second.label) == ("teacher", "student")
    np.testing.assert_allclose(second.cloud.xyz, first.cloud.xyz, rtol=1e-4, atol=1e-5)
    assert unit_ratio(views, rescaled(views, 4.0)) == pytest.approx(0.25)
    for view, other in zip(views, rescaled(views, 4.0), strict=True):
        centres = view.camera_to_world[:3, 3], other.camera_to_world[:3, 3]
        np.testing.assert_allclose(centres[1], 4 * centres[0], atol=1e-9)


def test_one_page_holds_both_with_a_switch(lite3r: Any, two: list[Path]) -> None:
    done = lite3r("view", *two, "--html", "both.html", "--json")
    assert done.code == 0, done.err
    assert json.loads(done.out)["bytes"] == Path("both.html").stat().st_size
    page = Path("both.html").read_text()
    assert '"label": "teacher"' in page
    assert '"label": "student"' in page
    again = lite3r("view", *two, "--html", "both.html")
    assert again.code == 2
    assert "--overwrite" in again.err
    assert lite3r("view", *two, "--html", "both.html", "--overwrite").code == 0


def test_a_folder_without_an_archive_is_told_how_to_get_one(lite3r: Any, tmp_path: Path) -> None:
    done = lite3r("view", tmp_path)
    assert done.code == 2
    assert "npz among its --formats" in done.err


@pytest.mark.parametrize(
    "words", [("--port", "70000"), ("--html", "page.txt"), ("--max-points", "0")]
)
def test_wrong_options_are_refused(lite3r: Any, two: list[Path], words: tuple[str, ...]) -> None:
    done = lite3r("view", two[0], *words)
    assert done.code == 2
    assert words[1] in done.err


def test_the_viewer_listens_to_this_machine_alone(server: Any) -> None:
    port = server.get_port()
    sockets = {int(line.split()[1].split(":")[1], 16): line.split()[1].split(":")[0]
               for line in Path("/proc/net/tcp").read_text().splitlines()[1:]
               if line.split()[3] == "0A"}  # fmt: skip
    assert sockets[port] == "0100007F"  # 127.0.0.1


def test_the_viewer_serves_its_page_and_no_file(server: Any) -> None:
    address = f"http://127.0.0.1:{server.get_port()}"
    assert b"<html" in urllib.request.urlopen(address).read()
    for path in ("/etc/passwd", "/%2e%2e/%2e%2e/%2e%2e/etc/passwd", "/..%2f..%2fpyproject.toml"):
        with pytest.raises(urllib.error.HTTPError, match="404"):
            urllib.request.urlopen(address + path)


def test_the_switch_and_the_slider_change_what_is_shown(
    server: Any, views: list[View], cloud: PointCloud
) -> None:
    fewer = cloud.take(np.arange(100))
    viewer = Viewer(
        server,
        [
            Model(label="teacher", cloud=cloud, views=views),
            Model(label="student", cloud=fewer, views=views[:2]),
        ],
    )
    assert len(viewer.points.points) == len(cloud)
    viewer.drop.value = 50
    viewer.show_points()
    assert len(viewer.points.points) == confident(cloud, 50.0).sum() < len(cloud)
    viewer.drop.value = 0
    viewer.model.value = "student"
    viewer.show_model()
    assert len(viewer.points.points) == 100
    assert len(viewer._frusta) == 2


def test_frusta_stand_where_the_cameras_were(
    server: Any, views: list[View], cloud: PointCloud
) -> None:
    viewer = Viewer(server, [Model(label="a", cloud=cloud, views=views)])
    for frustum, view in zip(viewer._frusta, views, strict=True):
        np.testing.assert_allclose(frustum.position, view.camera_to_world[:3, 3], atol=1e-6)
        assert frustum.aspect == pytest.approx(56 / 42)


def test_a_taken_port_gives_the_next(views: list[View], cloud: PointCloud) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        server = open_viewer(
            [Model(label="a", cloud=cloud, views=views)], host="127.0.0.1", port=port
        )
        try:
            assert server.get_port() > port
        finally:
            server.stop()


def test_without_viser_the_way_out_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> Any:
        raise ImportError(name)

    monkeypatch.setattr(viewing, "import_module", missing)
    with pytest.raises(UserError, match=r"lite3r-cli\[viewer\].*--html"):
        open_viewer([], host="localhost", port=0)
