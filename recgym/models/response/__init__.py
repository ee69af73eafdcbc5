"""Response: what a click leads to. Cart and purchase, reading time, watching, likes and gifts."""

from recgym.models.response.base import Outcome as Outcome
from recgym.models.response.base import Response as Response
from recgym.models.response.clicks import Clicks as Clicks
from recgym.models.response.dwell import Dwell as Dwell
from recgym.models.response.engagement import Engagement as Engagement
from recgym.models.response.funnel import Funnel as Funnel
from recgym.models.response.outcomes import Outcomes as Outcomes
from recgym.models.response.watch import Watch as Watch
from recgym.models.response.watch_time import WatchTime as WatchTime
