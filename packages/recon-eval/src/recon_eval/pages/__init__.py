"""Pages that carry everything they show, and ask the network for nothing."""

from recon_eval.pages.card import card_head as card_head
from recon_eval.pages.card import hub_library as hub_library
from recon_eval.pages.columns import Column as Column
from recon_eval.pages.columns import Row as Row
from recon_eval.pages.columns import markdown_table as markdown_table
from recon_eval.pages.columns import measured as measured
from recon_eval.pages.curve import loss_curve as loss_curve
from recon_eval.pages.html import document as document
from recon_eval.pages.html import facts as facts
from recon_eval.pages.html import heading as heading
from recon_eval.pages.html import legend as legend
from recon_eval.pages.html import strip as strip
from recon_eval.pages.page import Page as Page
from recon_eval.pages.page import SceneFigure as SceneFigure
from recon_eval.pages.page import render_page as render_page
