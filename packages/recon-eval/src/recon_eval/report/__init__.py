"""Numbers that carry what they rest on: per scene, summed up, compared, written down."""

from recon_eval.report.chart import Panel as Panel
from recon_eval.report.chart import Point as Point
from recon_eval.report.chart import svg as svg
from recon_eval.report.comparison import Comparison as Comparison
from recon_eval.report.comparison import compare as compare
from recon_eval.report.entry import Entry as Entry
from recon_eval.report.entry import Result as Result
from recon_eval.report.kept import Kept as Kept
from recon_eval.report.kept import read_results as read_results
from recon_eval.report.markdown import table as table
from recon_eval.report.paired import Interval as Interval
from recon_eval.report.paired import difference as difference
from recon_eval.report.paired import mean as mean
from recon_eval.report.paired import ratio as ratio
from recon_eval.report.report import Report as Report
from recon_eval.report.statistics import Summary as Summary
from recon_eval.report.statistics import bootstrap_interval as bootstrap_interval
from recon_eval.report.trials import Trials as Trials
from recon_eval.report.trials import mean_of as mean_of
from recon_eval.report.trials import told_of as told_of
