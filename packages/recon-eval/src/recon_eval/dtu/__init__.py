"""The DTU benchmark: the official point-cloud protocol, its files, its scan lists."""

from ..data.dtu_scans import SCANS as SCANS
from .evaluation import DtuResult as DtuResult
from .evaluation import evaluate_cloud as evaluate_cloud
from .evaluation import evaluate_scan as evaluate_scan
from .observation import Observation as Observation
from .thinning import thin as thin
from .truth import Truth as Truth
from .truth import find_truth as find_truth
