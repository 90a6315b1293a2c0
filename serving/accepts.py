"""What an ``Accept`` header prefers."""


def weights(accept: str) -> dict[str, float]:
    """Return the weight of each media type that is named; what is not a weight counts 0."""
    found = {}
    for part in accept.split(","):
        kind, *parameters = (token.strip() for token in part.split(";"))
        quality = next((p[2:] for p in parameters if p.startswith("q=")), "1")
        found[kind.lower()] = _number(quality)
    return found


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return 0.0
