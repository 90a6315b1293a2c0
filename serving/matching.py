"""Whether a caller's copy is current."""


def matches(if_none_match: str | None, tag: str) -> bool:
    """Say whether an ``If-None-Match`` header names the tag."""
    if if_none_match is None:
        return False
    sent = [part.strip().removeprefix("W/") for part in if_none_match.split(",")]
    return "*" in sent or tag in sent
