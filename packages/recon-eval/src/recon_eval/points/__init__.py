"""Point clouds against reference clouds."""

from recon_eval.neighbors import Neighbors as Neighbors
from recon_eval.points.chamfer import CHAMFER as CHAMFER
from recon_eval.points.chamfer import chamfer as chamfer
from recon_eval.points.evaluation import PointsResult as PointsResult
from recon_eval.points.evaluation import evaluate as evaluate
from recon_eval.points.fusion import FusedCloud as FusedCloud
from recon_eval.points.fusion import back_project as back_project
from recon_eval.points.fusion import fuse_close as fuse_close
from recon_eval.points.fusion import fuse_consistent as fuse_consistent
from recon_eval.points.normals import estimate_normals as estimate_normals
from recon_eval.points.sightings import find_sightings as find_sightings
from recon_eval.points.sightings import observe as observe
