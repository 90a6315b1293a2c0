"""Pages of ``docs/`` that a benchmark writes a part of: what stands between two markers."""

import argparse
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


def main(
    about: str | None,
    measure: Callable[[], dict[str, Any]],
    render: Callable[[dict[str, Any]], str],
    kept: Path,
    written: Path,
) -> None:
    """Be the command of a benchmark: measure and print; with ``--write``, keep and write.

    Figures are kept as JSON in ``kept``; what they say stands in the page ``written``.
    """
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument("--write", action="store_true", help="keep the figures, rewrite the page")
    is_to_be_written = parser.parse_args().write
    figures = measure()
    print(render(figures))
    if is_to_be_written:
        kept.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
        text = page(written.read_text(encoding="utf-8"), render(figures))
        written.write_text(text, encoding="utf-8")
