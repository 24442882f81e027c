"""Rules by which scored objects are rejected, and what becomes of the rejected."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum

from ovforge.errors import InputError

RULE_SCORES = (
    "fidelity", "visibility", "sharpness", "boundary", "colour", "repeated", "same", "margin", "found",
)  # fmt: skip
"""The scores that a rule may name."""


class RejectAs(str, Enum):
    """What becomes of a rejected object."""

    SKIP = "skip"
    """It is not in the file; what is seen of it is unlabelled."""
    IGNORE = "ignore"
    """It stays, with `iscrowd` 1: detectors neither learn it nor are punished for finding it."""


@dataclass(frozen=True)
class Rule:
    """An object whose `score` is below (or above) `limit` is rejected; one that was not measured is not."""

    score: str
    below: bool
    limit: float

    @property
    def reason(self) -> str:
        """What a summary says of the rejected."""
        return f"its score {self.score} is {'below' if self.below else 'above'} {self.limit:g}"


def parse_rules(text: str) -> tuple[Rule, ...]:
    """Read `same<0.6,boundary<0.3,repeated>0.9`.

    Raises:
        InputError: no rule of this form; names it.
    """
    rules = []
    for part in text.split(","):
        below = "<" in part
        name, _, number = part.partition("<" if below else ">")
        try:
            limit = float(number)
        except ValueError:
            limit = float("nan")
        if name.strip() not in RULE_SCORES or math.isnan(limit):
            raise InputError(
                f"--reject={part.strip() or text}: not of the form SCORE<NUMBER or SCORE>NUMBER",
                hint=f"scores are {', '.join(RULE_SCORES)}; several rules stand behind commas: same<0.6,boundary<0.3",
            )
        rules.append(Rule(name.strip(), below, limit))
    return tuple(rules)
