"""The DTU benchmark: the official point-cloud protocol, DTU64's poses, files, scan lists."""

from recon_eval.dtu.evaluation import DtuResult as DtuResult
from recon_eval.dtu.evaluation import evaluate_cloud as evaluate_cloud
from recon_eval.dtu.evaluation import evaluate_scan as evaluate_scan
from recon_eval.dtu.observation import Observation as Observation
from recon_eval.dtu.poses import dtu64 as dtu64
from recon_eval.dtu.poses import evaluate_poses as evaluate_poses
from recon_eval.dtu.thinning import thin as thin
from recon_eval.dtu.truth import Truth as Truth
from recon_eval.dtu.truth import find_truth as find_truth
from recon_eval.sets.dtu.scans import SCANS as SCANS
