"""Data sets. Each yields `Scene`s: images in [0, 1], depth, validity, OpenCV cameras, a name."""

from recon_eval.synthetic import SyntheticScenes as SyntheticScenes
from recon_eval.synthetic import write_blendedmvs as write_blendedmvs

from .blendedmvs import BlendedMVS as BlendedMVS
from .cam_txt import CameraFile as CameraFile
from .cam_txt import read_camera as read_camera
from .cam_txt import read_pairs as read_pairs
from .dtu import DTU as DTU
from .eth3d import ETH3D as ETH3D
from .glb import read_glb_points as read_glb_points
from .images import open_image as open_image
from .images import read_image as read_image
from .mvsnet import read_mvsnet as read_mvsnet
from .pfm import read_pfm as read_pfm
from .pfm import write_pfm as write_pfm
from .photos import Photos as Photos
from .ply import PointCloud as PointCloud
from .ply import read_ply as read_ply
from .ply import write_ply as write_ply
from .resample import resample as resample
from .scannetpp import ScanNetPP as ScanNetPP
from .scene import Scene as Scene
from .seven_scenes import SevenScenes as SevenScenes
from .stereo import read_stereo as read_stereo
from .video import VideoFrames as VideoFrames
