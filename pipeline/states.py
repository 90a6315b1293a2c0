"""States that more than one stage carries."""

import numpy as np

from market.ports import State


def watermark_state(watermark_us: int) -> dict[str, np.ndarray[tuple[int], np.dtype[np.int64]]]:
    """Return the state of a candle partition: until when the source has spoken."""
    return {"watermark_us": np.array([watermark_us], dtype=np.int64)}


def watermark_of(state: State) -> int:
    """Return until when the source has spoken, in UTC microseconds."""
    return int(state["watermark_us"][0])
