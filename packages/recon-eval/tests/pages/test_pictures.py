"""Numbers as pictures and curves: order is lightness, and what is missing is gray."""

import numpy as np
import pytest

from recon_eval.pages import loss_curve, pictures


def test_curve_spans_its_axes() -> None:
    drawing = loss_curve([1.0, 0.1, 0.01], label="loss")
    first, *_, last = drawing.split('class="raw" points="')[1].split('"')[0].split()
    assert first == "64.0,12.0"
    assert last == "628.0,220.0"


@pytest.mark.parametrize("values", [[1.0], [1.0, 0.0], [1.0, float("nan")]])
def test_curve_refuses_what_a_logarithm_cannot_show(values: list[float]) -> None:
    with pytest.raises(ValueError, match="fewer than two values, or not finite and positive"):
        loss_curve(values, label="loss")


def test_depth_colors_run_from_light_to_dark() -> None:
    depth = np.geomspace(1.0, 4.0, 64)[None]
    lightness = pictures.depth_picture(depth, 1.0, 4.0).astype(float) @ [0.2126, 0.7152, 0.0722]
    assert (np.diff(lightness[0]) < 0).all()


def test_missing_depth_is_gray() -> None:
    depth = np.array([[1.0, np.nan], [0.0, np.inf]])
    painted = pictures.depth_picture(depth, 1.0, 2.0)
    assert (painted[[0, 1, 1], [1, 0, 1]] == pictures.MISSING).all()
    assert (pictures.error_picture(np.ones((2, 2)), depth)[1] == pictures.MISSING).all()


def test_no_error_is_the_lightest_color() -> None:
    truth = np.array([[1.0, 2.0, 4.0]])
    painted = pictures.error_picture(truth * [1.0, 1.25, 9.0], truth, worst=0.5).sum(-1)[0]
    assert painted[0] > painted[1] > painted[2]
