"""How fast a backbone and its students are, beside the strongest dense baseline."""

from .run import Setting as Setting
from .run import bench as bench
from .tables import markdown as markdown
from .variants import TOLERANCE as TOLERANCE
from .variants import Variant as Variant
from .variants import variants as variants
