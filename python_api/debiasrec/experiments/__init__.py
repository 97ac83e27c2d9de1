"""The experiments of the papers: declared as data, run by one function, shown beside the published figures."""

from ..errors import DebiasRecError
from ..naming import unknown_name
from . import bal, biif, causald, interd, ltd
from .experiment import Arm, Experiment, Figure
from .literature import published
from .runner import Outcome, run

EXPERIMENTS: dict[str, Experiment] = {
    experiment.name: experiment
    for experiment in (
        *interd.EXPERIMENTS,
        *bal.EXPERIMENTS,
        *ltd.EXPERIMENTS,
        *biif.EXPERIMENTS,
        *causald.EXPERIMENTS,
    )
}


def experiment(name: str) -> Experiment:
    """An experiment by name.

    Raises:
        DebiasRecError: an unknown name; the message names the nearest valid one.
    """
    if name not in EXPERIMENTS:
        raise DebiasRecError(unknown_name("experiment", name, EXPERIMENTS))
    return EXPERIMENTS[name]


__all__ = ["EXPERIMENTS", "Arm", "Experiment", "Figure", "Outcome", "experiment", "published", "run"]
