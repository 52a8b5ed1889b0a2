"""Numbers that carry what they rest on: per scene, summed up, compared, written down."""

from recon_eval.report.comparison import Comparison as Comparison
from recon_eval.report.comparison import compare as compare
from recon_eval.report.entry import Entry as Entry
from recon_eval.report.entry import Result as Result
from recon_eval.report.report import Report as Report
from recon_eval.report.statistics import Summary as Summary
from recon_eval.report.statistics import bootstrap_interval as bootstrap_interval
