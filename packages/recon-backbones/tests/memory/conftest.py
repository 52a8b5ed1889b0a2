"""Networks for what memory is asked of."""

import pytest

from recon_backbones import Backbone, load_backbone

from ..short import short


@pytest.fixture(scope="module")
def backbone() -> Backbone:
    return load_backbone("da3-tiny", weights="random")


@pytest.fixture(scope="module")
def few_blocks() -> Backbone:
    """For what is asked how often it is called, and not what it computes."""
    return short("da3-tiny")
