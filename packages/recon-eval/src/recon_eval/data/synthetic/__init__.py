"""Procedural scenes with exact depth and cameras: `world` draws them, `render` looks at them."""

from .dataset import SyntheticScenes as SyntheticScenes
from .render import render as render
from .world import MAX_VIEWS as MAX_VIEWS
from .world import World as World
from .world import draw_world as draw_world
