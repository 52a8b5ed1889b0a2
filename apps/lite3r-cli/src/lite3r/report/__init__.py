"""What a run reports: the table, the loss curve, and the page that shows them."""

from .columns import COLUMNS as COLUMNS
from .columns import markdown_table as markdown_table
from .columns import rich_table as rich_table
from .curve import loss_curve as loss_curve
from .page import Page as Page
from .page import SceneFigure as SceneFigure
from .page import render_page as render_page
