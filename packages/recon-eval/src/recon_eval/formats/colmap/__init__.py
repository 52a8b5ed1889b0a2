"""COLMAP models, binary and text, with tracks. Source: colmap.github.io/format.html."""

from recon_eval.formats.colmap.files import read_colmap as read_colmap
from recon_eval.formats.colmap.files import read_colmap_cameras as read_colmap_cameras
from recon_eval.formats.colmap.files import write_colmap as write_colmap
from recon_eval.formats.colmap.model import ColmapModel as ColmapModel
from recon_eval.formats.colmap.model import quaternion_wxyz as quaternion_wxyz
