"""Worlds fitted to interaction logs, each with a report that says how far to trust it.

world, report = fit_open_bandit(read_open_bandit("open_bandit_dataset"))
print(report.to_markdown())
"""

from recgym.fit.clicks import LARGEST_SPREAD as LARGEST_SPREAD
from recgym.fit.clicks import POSITION_SPREAD as POSITION_SPREAD
from recgym.fit.clicks import ClickModel as ClickModel
from recgym.fit.clicks import Estimate as Estimate
from recgym.fit.clicks import Z as Z
from recgym.fit.clicks import best_spread as best_spread
from recgym.fit.clicks import fit_clicks as fit_clicks
from recgym.fit.clicks import spread_interval as spread_interval
from recgym.fit.clicks import wilson as wilson
from recgym.fit.open_bandit import fit_open_bandit as fit_open_bandit
from recgym.fit.report import FitReport as FitReport
from recgym.fit.report import Row as Row
from recgym.fit.report import Score as Score
from recgym.fit.validation import cross_validate as cross_validate
