"""The committed API description: ``python -m serving.openapi`` writes it, a test compares it."""

from pathlib import Path
from typing import Final

import orjson

from serving.app import bare_app

COMMITTED: Final = Path(__file__).with_name("openapi.json")


def rendered() -> bytes:
    """Return the description as it is committed."""
    return orjson.dumps(bare_app().openapi(), option=orjson.OPT_INDENT_2) + b"\n"


if __name__ == "__main__":
    COMMITTED.write_bytes(rendered())
