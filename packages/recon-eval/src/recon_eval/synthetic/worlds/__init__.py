"""What there is to see: places, the things that stand in them, their surfaces, and who looks."""

from recon_eval.synthetic.worlds.draw import draw_world as draw_world
from recon_eval.synthetic.worlds.places import PLACES as PLACES
from recon_eval.synthetic.worlds.world import MAX_VIEWS as MAX_VIEWS
from recon_eval.synthetic.worlds.world import World as World
