"""Similarity transforms: from points, from cameras, robustly, and by iterated nearest points."""

from recon_eval.align.cameras import align_cameras as align_cameras
from recon_eval.align.icp import icp as icp
from recon_eval.align.ransac import align_cameras_ransac as align_cameras_ransac
from recon_eval.align.ransac import ransac as ransac
from recon_eval.align.similarity import MIN_SPREAD as MIN_SPREAD
from recon_eval.align.similarity import DegenerateAlignment as DegenerateAlignment
from recon_eval.align.similarity import Similarity as Similarity
from recon_eval.align.similarity import camera_centers as camera_centers
from recon_eval.align.similarity import umeyama as umeyama
