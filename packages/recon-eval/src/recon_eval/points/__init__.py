"""Point clouds against reference clouds."""

from ..neighbours import Neighbours as Neighbours
from .chamfer import CHAMFER as CHAMFER
from .chamfer import chamfer as chamfer
from .evaluation import PointsResult as PointsResult
from .evaluation import evaluate as evaluate
from .fusion import FusedCloud as FusedCloud
from .fusion import back_project as back_project
from .fusion import fuse_close as fuse_close
from .fusion import fuse_consistent as fuse_consistent
from .normals import estimate_normals as estimate_normals
