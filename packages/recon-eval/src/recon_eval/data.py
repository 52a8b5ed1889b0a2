"""Data sets. Each yields `Scene`s: images in [0, 1], depth, validity, OpenCV cameras, a name."""

from recon_eval.scenes import WideScenes as WideScenes
from recon_eval.scenes import drawn_scenes as drawn_scenes
from recon_eval.scenes import lesson_scenes as lesson_scenes
from recon_eval.scenes import read_scenes as read_scenes
from recon_eval.scenes import scan_list as scan_list
from recon_eval.sets.blendedmvs import BlendedMVS as BlendedMVS
from recon_eval.sets.dtu.dataset import DTU as DTU
from recon_eval.sets.eth3d import ETH3D as ETH3D
from recon_eval.sets.mvsnet import read_mvsnet as read_mvsnet
from recon_eval.sets.photos import Photos as Photos
from recon_eval.sets.resample import resample as resample
from recon_eval.sets.scannetpp import ScanNetPP as ScanNetPP
from recon_eval.sets.scene import Scene as Scene
from recon_eval.sets.seven_scenes import SevenScenes as SevenScenes
from recon_eval.sets.stereo import read_stereo as read_stereo
from recon_eval.sets.video import VideoFrames as VideoFrames
from recon_eval.synthetic import SyntheticScenes as SyntheticScenes
from recon_eval.synthetic import SyntheticWorld as SyntheticWorld
from recon_eval.synthetic import write_blendedmvs as write_blendedmvs
