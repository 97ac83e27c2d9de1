"""Search for hyper-parameters on the validation rows."""

from .blind import without_tests
from .space import Interval, search_space
from .trials import Tuning
from .tune import tune

__all__ = ["Interval", "Tuning", "search_space", "tune", "without_tests"]
