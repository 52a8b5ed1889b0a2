"""Every backbone, and one of another kind."""

from collections.abc import Iterator

import pytest

from recon_backbones import Backbone, load_backbone, unregister_backbone

from .. import conv_backbone
from .named import NAMES


@pytest.fixture(scope="module", autouse=True)
def third_backbone() -> Iterator[None]:
    conv_backbone.register()
    yield
    unregister_backbone("conv-tiny")


@pytest.fixture(scope="module", params=NAMES)
def backbone(request: pytest.FixtureRequest) -> Backbone:
    return load_backbone(request.param, weights="random", seed=3)
