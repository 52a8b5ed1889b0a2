"""Numbers that carry what they rest on: per scene, summed up, compared, written down."""

from .comparison import Comparison as Comparison
from .comparison import compare as compare
from .entry import Entry as Entry
from .entry import Result as Result
from .report import Report as Report
from .statistics import Summary as Summary
from .statistics import bootstrap_interval as bootstrap_interval
