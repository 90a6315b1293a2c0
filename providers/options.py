"""What an instrument may tell its provider: ``[<id>.options]``, checked once, named when wrong."""

import difflib
from collections.abc import Iterable
from typing import TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from market.errors import InputError
from market.instruments import Instrument


class Options(BaseModel):
    """Root of every provider's options: frozen, and a name that is not known is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")


OptionsT = TypeVar("OptionsT", bound=Options)


def parse(model: type[OptionsT], instrument: Instrument) -> OptionsT:
    """Return the instrument's options as ``model``; raise ``InputError`` that names the option."""
    try:
        return model.model_validate(dict(instrument.options))
    except ValidationError as e:
        error = e.errors()[0]
        place = ".".join(str(part) for part in ("options", *error["loc"]))
        if error["type"] == "extra_forbidden":
            name = str(error["loc"][-1])
            known = sorted(model.model_fields)
            raise InputError(
                f"instrument {instrument.id}.{place}: expected one of "
                f"{', '.join(known) or 'no options'}, was {name!r}{did_you_mean(name, known)}"
            ) from e
        reason = error["msg"].removeprefix("Value error, ")
        raise InputError(
            f"instrument {instrument.id}.{place}: expected valid options, "
            f"was {error['input']!r}: {reason}"
        ) from e


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return `` (did you mean …?)`` for the nearest known word, or nothing where none is near."""
    by_case = {name.lower(): name for name in known}
    near = difflib.get_close_matches(word.lower(), by_case, n=1)
    return f" (did you mean {by_case[near[0]]!r}?)" if near else ""
