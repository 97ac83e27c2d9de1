"""The next settings to try, by a tree-structured Parzen estimator."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import DebiasRecError
from .space import Interval, Space

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution


def suggest(space: Space, trials: Sequence[dict[str, Any]], *, higher_is_better: bool, seed: int) -> dict[str, Any]:
    """Settings for trial ``len(trials)``: a function of its arguments alone, so that a resumed search goes on as if it
    had never stopped.

    Args:
        space: what is searched.
        trials: the earlier trials, each with "params" and "value" (None where the fit diverged).
        higher_is_better: direction of the value.
        seed: of the whole search.

    Returns:
        A value for every option of the space.

    Raises:
        DebiasRecError: optuna is not installed.

    Source: Bergstra et al., Algorithms for Hyper-Parameter Optimization, NeurIPS 2011, section 4.
    """
    optuna = _optuna()
    number = np.random.SeedSequence((seed, len(trials))).generate_state(1)[0]
    study = optuna.create_study(
        direction="maximize" if higher_is_better else "minimize", sampler=optuna.samplers.TPESampler(seed=int(number))
    )
    distributions = {option: _distribution(searched) for option, searched in space.items()}
    for trial in trials:
        if all(trial["params"][option] in searched for option, searched in space.items()):
            state = optuna.trial.TrialState.PRUNED if trial["value"] is None else optuna.trial.TrialState.COMPLETE
            study.add_trial(
                optuna.trial.create_trial(
                    params=trial["params"], distributions=distributions, value=trial["value"], state=state
                )
            )
    params = study.ask(distributions).params
    return {
        option: searched.rounded(params[option]) if isinstance(searched, Interval) else params[option]
        for option, searched in space.items()
    }


def _distribution(searched: Interval | tuple[Any, ...]) -> BaseDistribution:
    distributions = _optuna().distributions
    if isinstance(searched, Interval):
        return distributions.FloatDistribution(searched.low, searched.high, log=searched.log)
    return distributions.CategoricalDistribution(searched)


def _optuna() -> Any:
    try:
        import optuna
    except ImportError:
        raise DebiasRecError("tuning needs optuna: pip install 'debias-ext[tune]'") from None
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna
