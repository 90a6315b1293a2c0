"""What an ``Accept`` header prefers."""

from collections.abc import Sequence


def weights(accept: str) -> dict[str, float]:
    """Return the weight of each media type that is named; what is not a weight counts 0."""
    found = {}
    for part in accept.split(","):
        kind, *parameters = (token.strip() for token in part.split(";"))
        quality = next((p[2:] for p in parameters if p.startswith("q=")), "1")
        found[kind.lower()] = _number(quality)
    return found


def best(accept: str, offered: Sequence[str]) -> str | None:
    """Return the media type that ``Accept`` weighs most, of equals the first offered; or none.

    The closest range decides a type's weight (``text/csv``, then ``text/*``, then ``*/*``); no
    header takes anything.
    """
    if not accept.strip():
        return offered[0]
    named = weights(accept)

    def weight(kind: str) -> float:
        ranges = (kind, f"{kind.partition('/')[0]}/*", "*/*")
        return next((named[x] for x in ranges if x in named), 0.0)

    found = max(offered, key=weight)  # the first of equals
    return found if weight(found) > 0.0 else None


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return 0.0
