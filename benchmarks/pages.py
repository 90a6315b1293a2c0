"""Pages of ``docs/`` that a benchmark writes a part of: what stands between two markers."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

BEGIN: Final = "<!-- measured:begin -->"
END: Final = "<!-- measured:end -->"


def page(text: str, measured: str) -> str:
    """Return a page with this between its markers."""
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{measured}\n{END}{after}"


def keep(
    figures: dict[str, Any], kept: Path, written: Path, render: Callable[[dict[str, Any]], str]
) -> None:
    """Keep figures as JSON, and write what they say into the page."""
    kept.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    text = page(written.read_text(encoding="utf-8"), render(figures))
    written.write_text(text, encoding="utf-8")
