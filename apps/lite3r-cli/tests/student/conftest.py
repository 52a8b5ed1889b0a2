"""A teacher for students."""

import pytest

from recon_backbones import Backbone, load_backbone


@pytest.fixture
def teacher() -> Backbone:
    return load_backbone("da3-tiny", weights="random")
