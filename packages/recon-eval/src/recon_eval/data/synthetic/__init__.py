"""Procedural scenes with exact depth and cameras: `world` draws them, `render` looks at them."""

from .dataset import SyntheticScenes as SyntheticScenes
from .layout import overlap as overlap
from .layout import write_blendedmvs as write_blendedmvs
from .render import render as render
from .world import MAX_VIEWS as MAX_VIEWS
from .world import World as World
from .world import draw_world as draw_world
