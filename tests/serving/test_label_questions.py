"""When a candle closes and its horizon ends: out of kept months, the calendar's own words."""

from hypothesis import given
from hypothesis import strategies as st

from market.calendars import calendar_named
from market.errors import MalformedBarsError
from market.timeframes import Timeframe
from pipeline.labels import MAX_HORIZON
from serving.label_compute import questions

CALENDARS = [("crypto", None), ("crypto", "21:00 UTC"), ("fx", None), ("us_equity", None)]
SECONDS = 1_000_000


@given(
    st.sampled_from(CALENDARS),
    st.sampled_from(list(Timeframe)),
    st.integers(1_199_145_600, 1_735_689_600),  # 2008 to 2025
    st.integers(1, MAX_HORIZON),
    st.sampled_from(["on the grid", "anywhere"]),
)
def test_kept_months_say_what_the_calendar_says(
    named: tuple[str, str | None], timeframe: Timeframe, second: int, horizon: int, where: str
) -> None:
    calendar, ts_us = calendar_named(*named), second * SECONDS
    if where == "on the grid":
        ts_us = int(calendar.grid(timeframe, ts_us, ts_us + 40 * 86_400 * SECONDS).open_us[0])
    try:
        closes = int(calendar.bar_ends(timeframe, [ts_us])[0])
    except MalformedBarsError:
        closes = ts_us + timeframe.microseconds
    assert questions.close_of(ts_us, timeframe, calendar) == closes
    ends = questions.end_of(ts_us, closes, horizon, timeframe, calendar)
    assert ends == int(calendar.horizon_ends(timeframe, [closes], horizon)[0])
