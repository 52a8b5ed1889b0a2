"""The DTU benchmark: the official point-cloud protocol, DTU64's poses, files, scan lists."""

from ..data.dtu_scans import SCANS as SCANS
from .evaluation import DtuResult as DtuResult
from .evaluation import evaluate_cloud as evaluate_cloud
from .evaluation import evaluate_scan as evaluate_scan
from .observation import Observation as Observation
from .poses import dtu64 as dtu64
from .poses import evaluate_poses as evaluate_poses
from .thinning import thin as thin
from .truth import Truth as Truth
from .truth import find_truth as find_truth
