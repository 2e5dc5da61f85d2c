"""From which distance on a change that is significant counts as drift."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from adbazureml.errors import SettingsError

NAMES = {"psi": "PSI", "js_distance": "Jensen-Shannon", "ks": "KS", "wasserstein": "Wasserstein"}


@dataclass(frozen=True, kw_only=True)
class Thresholds:
    """From which figure on a significant change counts as drift; one that reaches any of them does.

    Attributes
    ----------
    psi : float or None
        Population stability index; by the usual rule of thumb 0.1 is a slight and 0.2 a marked shift.
    js_distance : float or None
        Jensen-Shannon distance, from 0 to 1; 0.1 is usual.
    ks : float or None
        Kolmogorov-Smirnov statistic, from 0 to 1; 0.1 is usual for many rows.
    wasserstein : float or None
        Wasserstein distance, in the column's unit.

    None leaves a figure out.
    """

    psi: float | None = 0.05
    js_distance: float | None = None
    ks: float | None = None
    wasserstein: float | None = None

    def given(self) -> dict[str, float]:
        """Those that are not None."""
        return {name: value for name, value in asdict(self).items() if value is not None}

    def exceeded(self, figures: Mapping[str, Any]) -> tuple[str, ...]:
        """Those of a column's figures, by name, that reach their threshold, such as ``"PSI 0.312"``."""
        return tuple(
            f"{NAMES[name]} {figures[name]:.3f}"
            for name, threshold in self.given().items()
            if figures[name] is not None and figures[name] >= threshold
        )

    def check(self) -> None:
        """Refuse thresholds that say nothing.

        Raises
        ------
        SettingsError
            None is given, or one is not above 0.
        """
        wrong = {name: value for name, value in self.given().items() if not value > 0}
        if wrong or not self.given():
            named = ", ".join(f"{name} {value!r}" for name, value in wrong.items()) or "none given"
            raise SettingsError(f"threshold: {named}; expected a number above 0, such as 0.05 for psi.")

    def __str__(self) -> str:
        return ", ".join(f"{NAMES[name]} {value:g}" for name, value in self.given().items())
