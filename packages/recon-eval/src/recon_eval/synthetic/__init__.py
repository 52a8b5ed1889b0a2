"""Procedural scenes with exact depth and cameras.

`rooms` is the world of `SyntheticScenes`; `worlds` draws that of `SyntheticWorld` and `raycast`
looks at it.
"""

from recon_eval.synthetic.cycles import larger as larger
from recon_eval.synthetic.cycles import mixed_cycle as mixed_cycle
from recon_eval.synthetic.cycles import small_cycle as small_cycle
from recon_eval.synthetic.dataset import SyntheticScenes as SyntheticScenes
from recon_eval.synthetic.dataset import SyntheticWorld as SyntheticWorld
from recon_eval.synthetic.layout import overlap as overlap
from recon_eval.synthetic.layout import write_blendedmvs as write_blendedmvs
from recon_eval.synthetic.raycast import Views as Views
from recon_eval.synthetic.raycast import render_worlds as render_worlds
from recon_eval.synthetic.rooms.render import render_room as render_room
from recon_eval.synthetic.rooms.world import MAX_VIEWS as MAX_VIEWS
from recon_eval.synthetic.stream import Batch as Batch
from recon_eval.synthetic.stream import FreshScenes as FreshScenes
from recon_eval.synthetic.worlds import PLACES as PLACES
from recon_eval.synthetic.worlds import World as World
from recon_eval.synthetic.worlds import draw_world as draw_world
