"""Look at worlds: rays in tiles of pixels, exact hits, light and shadow, and a camera's faults."""

from recon_eval.synthetic.raycast.render import Views as Views
from recon_eval.synthetic.raycast.render import render_worlds as render_worlds
