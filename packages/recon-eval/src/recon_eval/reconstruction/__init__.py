"""A reconstruction as arrays: views with depth and cameras, one cloud of them, files and pages."""

from recon_eval.reconstruction.archive import read_archive as read_archive
from recon_eval.reconstruction.archive import write_archive as write_archive
from recon_eval.reconstruction.cloud import PointOptions as PointOptions
from recon_eval.reconstruction.cloud import depth_edges as depth_edges
from recon_eval.reconstruction.cloud import gather_points as gather_points
from recon_eval.reconstruction.cloud import thin as thin
from recon_eval.reconstruction.cloud import unproject as unproject
from recon_eval.reconstruction.depth_maps import write_depth_maps as write_depth_maps
from recon_eval.reconstruction.files import WRITERS as WRITERS
from recon_eval.reconstruction.files import WRITTEN as WRITTEN
from recon_eval.reconstruction.files import check_photos as check_photos
from recon_eval.reconstruction.page import Model as Model
from recon_eval.reconstruction.page import write_page as write_page
from recon_eval.reconstruction.photos import link_photos as link_photos
from recon_eval.reconstruction.summary import seen_from_above as seen_from_above
from recon_eval.reconstruction.summary import write_summary as write_summary
from recon_eval.reconstruction.units import read_models as read_models
from recon_eval.reconstruction.units import rescaled as rescaled
from recon_eval.reconstruction.units import unit_ratio as unit_ratio
from recon_eval.reconstruction.upright import upright as upright
from recon_eval.reconstruction.view import Reconstruction as Reconstruction
from recon_eval.reconstruction.view import Tracked as Tracked
from recon_eval.reconstruction.view import View as View
