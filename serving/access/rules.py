"""Which scope each method and path needs, as data; a test compares it with the app's routes.

The first rule that fits holds. What no rule names needs ``read`` or, where it may change something,
``write``: a route that was forgotten is never open.
"""

import re
from dataclasses import dataclass
from typing import Final

from storage.api_keys import COMPUTE, READ, WRITE

SAFE: Final = frozenset({"GET", "HEAD", "OPTIONS"})


@dataclass(frozen=True, slots=True)
class Rule:
    """A scope for the methods and the whole paths that it fits; None: open to everybody."""

    methods: frozenset[str]
    path: re.Pattern[str]
    scope: str | None


def _rule(methods: str, path: str, scope: str | None) -> Rule:
    return Rule(frozenset(methods.split()), re.compile(path), scope)


PROBES: Final = (_rule("GET HEAD", r"/health|/v1/health(/ready|/live)?", None),)
METRICS: Final = (_rule("GET HEAD", r"/metrics|/prometheus", None),)
DOCS: Final = (_rule("GET HEAD", r"/openapi\.json|/(docs|redoc)(/.*)?", None),)
RULES: Final = (
    _rule("GET HEAD", r"/health|/v1/health(/ready|/live)?|/metrics|/prometheus", READ),
    _rule("GET HEAD", r"/openapi\.json|/(docs|redoc)(/.*)?", READ),
    _rule("POST", r"/compute/.*|/ml/predict|/predict(/.*)?|/v1/labels/compute", COMPUTE),
    _rule("POST", r"(/v1)?/backtest/(run|sweep)", COMPUTE),
    _rule("GET HEAD", r"(/v1)?/backtest/results/.*", READ),
    _rule("GET HEAD", r"/v1/(labels|levels|metrics|cache/stats|batch/jobs)(/.*)?", READ),
    _rule("POST DELETE", r"/v1/(batch|cache)/.*", WRITE),
    _rule("POST", r"/models/update", WRITE),
    _rule("GET HEAD", r"/|/models(/.*)?|/alerts", READ),
    _rule("GET HEAD", r"/api/v1/(data|providers|metrics)(/.*)?", READ),
    _rule("POST", r"/api/v1/background/.*", WRITE),
    _rule("GET HEAD", r"/live(/.*)?", READ),
)


def rules(*, probes: bool, metrics: bool, docs: bool) -> tuple[Rule, ...]:
    """Return the rules, with those paths open to everybody that a setting says."""
    opened = ((PROBES, probes), (METRICS, metrics), (DOCS, docs))
    return tuple(r for some, is_open in opened if is_open for r in some) + RULES


def scope_of(method: str, path: str, among: tuple[Rule, ...]) -> str | None:
    """Return the scope that a request needs; None where it is open."""
    for rule in among:
        if method in rule.methods and rule.path.fullmatch(path):
            return rule.scope
    return READ if method in SAFE else WRITE
