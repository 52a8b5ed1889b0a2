"""The record of one world: all that a photograph of it depends on.

Frame: meters, x right, y down, z forward (OpenCV): "up" is -y, and the ground lies at y = 0.
"""

from dataclasses import dataclass

from jaxtyping import Float, Int
from torch import Tensor

MAX_VIEWS = 64
"""Cameras drawn for every world, so that the first views do not depend on how many are used."""

ROOM, PLANE, TERRAIN = range(3)
BOX, BALL, CONE, GABLE, BLOB, TORUS, PILLOW, TWIST = range(8)
PLAIN, CHECKER, STRIPES, WAVES, PATCHES, BRICKS, WINDOWS, PLANKS, SPECKLE = range(9)


@dataclass(frozen=True, kw_only=True)
class Solids:
    """Things that block rays: unit shapes moved by `center + rotation @ (size * p)`.

    BOX is [-1, 1]^3, BALL the unit ball. CONE has radius 1 at its foot y = 1 and `shape[0]` at
    y = -1 (1 makes it a cylinder). GABLE is a box whose top is a ridge along z. The others are
    signed distance fields inside the ball of radius sqrt(3): BLOB melts four balls together
    (centers and radii in `shape`), TORUS is a ring round y with tube `shape[0]`, PILLOW a box with
    edges rounded by `shape[0]`, TWIST a box turned by `shape[0]` radians for each unit of height.
    """

    kind: Int[Tensor, " o"]
    center: Float[Tensor, "o 3"]
    size: Float[Tensor, "o 3"]
    rotation: Float[Tensor, "o 3 3"]
    shape: Float[Tensor, "o 16"]
    material: Int[Tensor, " o"]


@dataclass(frozen=True, kw_only=True)
class Materials:
    """Solid textures: two colors mixed by a pattern, grain on top, and how much they reflect."""

    pattern: Int[Tensor, " m"]
    colors: Float[Tensor, "m 2 3"]
    frequency: Float[Tensor, " m"]
    offset: Float[Tensor, "m 3"]
    grain: Float[Tensor, " m"]
    gloss: Float[Tensor, " m"]


@dataclass(frozen=True, kw_only=True)
class Ground:
    """What encloses or carries the things: a room seen from inside, a plane, or hills.

    The room is `x, z` in [-half, half] and y in [-2 half, 0]. Hills are sums of waves: height
    `amplitude * sin(x * wave_x + z * wave_z + phase)`. `material` names the six walls (-x, x,
    ceiling, floor, -z, z); plane and hills use that of the floor. A stage stacks several worlds.
    """

    kind: Int[Tensor, "*s"]
    half: Float[Tensor, "*s 3"]
    waves: Float[Tensor, "*s w 4"]  # wave_x, wave_z, phase, amplitude
    material: Int[Tensor, "*s 6"]


@dataclass(frozen=True, kw_only=True)
class Light:
    """One lamp or the sun (a lamp far away), an ambient term, and the colors of the sky."""

    position: Float[Tensor, "*s 3"]
    color: Float[Tensor, "*s 3"]
    ambient: Float[Tensor, "*s 3"]
    zenith: Float[Tensor, "*s 3"]
    horizon: Float[Tensor, "*s 3"]
    clouds: Float[Tensor, "*s"]


@dataclass(frozen=True, kw_only=True)
class Cameras:
    """Pinhole cameras with square pixels.

    `focal` is in units of half the longer image side, `shift` moves the principal point by a
    fraction of each side, as a crop does that is not centered.
    """

    camera_to_world: Float[Tensor, "v 3 4"]
    focal: Float[Tensor, " v"]
    shift: Float[Tensor, "v 2"]


@dataclass(frozen=True, kw_only=True)
class Lens:
    """What each photograph suffers: see `photograph`."""

    exposure: Float[Tensor, " v"]
    white: Float[Tensor, "v 3"]
    gamma: Float[Tensor, " v"]
    vignette: Float[Tensor, " v"]
    blur: Float[Tensor, " v"]  # standard deviation, pixels of a 224-pixel image
    motion: Float[Tensor, "v 2"]  # pixels of a 224-pixel image
    noise: Float[Tensor, " v"]
    quality: Float[Tensor, " v"]  # of the JPEG, 1 to 100
    seed: Int[Tensor, " v"]


@dataclass(frozen=True, kw_only=True)
class World:
    """A place, its light, and sixty-four people with cameras."""

    place: str
    solids: Solids
    materials: Materials
    ground: Ground
    light: Light
    cameras: Cameras
    lens: Lens
