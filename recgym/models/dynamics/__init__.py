"""Dynamics: how a step changes the user. A World holds a tuple of these, applied in order.

Each is ``(users, catalog, feedback, noise) -> {column: new array}``; a column that is not named stays as it is. The
kernels write into a copy of the column: allocating in Python is cheaper than returning arrays from compiled code, and
a step that is recorded to be compiled knows where each array comes from (`recgym.types.copied`).
"""

from recgym.models.dynamics.adaptation import Adaptation as Adaptation
from recgym.models.dynamics.base import Dynamics as Dynamics
from recgym.models.dynamics.browsing import OrganicSessions as OrganicSessions
from recgym.models.dynamics.drift import Attraction as Attraction
from recgym.models.dynamics.drift import InterestDrift as InterestDrift
from recgym.models.dynamics.drift import MeanDrift as MeanDrift
from recgym.models.dynamics.drift import SignedDrift as SignedDrift
from recgym.models.dynamics.drift import TwoSpeedDrift as TwoSpeedDrift
from recgym.models.dynamics.satisfaction import Mood as Mood
from recgym.models.dynamics.satisfaction import NetExposure as NetExposure
from recgym.models.dynamics.satisfaction import Satisfaction as Satisfaction
from recgym.models.dynamics.topics import Boredom as Boredom
from recgym.models.dynamics.topics import Fatigue as Fatigue
from recgym.models.dynamics.topics import Satiation as Satiation
