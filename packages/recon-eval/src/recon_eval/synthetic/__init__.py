"""Procedural scenes with exact depth and cameras: `world` draws them, `render` looks at them."""

from recon_eval.synthetic.dataset import SyntheticScenes as SyntheticScenes
from recon_eval.synthetic.layout import overlap as overlap
from recon_eval.synthetic.layout import write_blendedmvs as write_blendedmvs
from recon_eval.synthetic.rooms.render import render as render
from recon_eval.synthetic.rooms.world import MAX_VIEWS as MAX_VIEWS
from recon_eval.synthetic.rooms.world import World as World
from recon_eval.synthetic.rooms.world import draw_world as draw_world
