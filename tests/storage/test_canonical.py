"""A data version says what the rows say, and nothing else."""

import datetime as dt
import math

import numpy as np
import polars as pl
import pyarrow as pa  # noqa: F401 - 0.3 s at the first text, which an example's deadline would count
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from market.errors import InputError, SchemaError
from storage import canonical
from tests.fakes.bars import candles

MONTH = "2017-05"
MAY = dt.datetime(2017, 5, 1, tzinfo=dt.UTC)

FLOATS = st.one_of(st.none(), st.floats(), st.sampled_from([0.0, -0.0, math.nan, -math.nan]))
CELLS = st.tuples(
    FLOATS,
    st.one_of(st.none(), st.text(max_size=4)),
    st.one_of(st.none(), st.booleans()),
    st.one_of(st.none(), st.integers(-128, 127)),
)
FRAMES = st.lists(CELLS, max_size=12)
SCHEMA = {"price": pl.Float64, "note": pl.String, "is_open": pl.Boolean, "sign": pl.Int8}


def frame_of(cells: list[tuple[object, ...]]) -> pl.DataFrame:
    return pl.DataFrame(cells, schema=SCHEMA, orient="row")


def version_of(frame: pl.DataFrame) -> str:
    return canonical.content(frame, None, month=MONTH, name="test").version


def golden() -> pl.DataFrame:
    return pl.DataFrame(
        {
            "ts": [MAY, MAY + dt.timedelta(hours=1)],
            "price": [-0.0, None],
            "ratio": [math.nan, 1.5],
            "label": [None, -1],
            "count": [0, 65535],
            "note": ["é", None],
            "is_open": [None, True],
        },
        schema={
            "ts": pl.Datetime("us", "UTC"),
            "price": pl.Float64,
            "ratio": pl.Float32,
            "label": pl.Int8,
            "count": pl.UInt16,
            "note": pl.String,
            "is_open": pl.Boolean,
        },
    )


def test_the_hash_of_a_known_frame_never_changes() -> None:
    """Equal on every machine and release, or every partition in the world is new."""
    state = {"b": np.array([[1.0, -0.0]]), "a": np.array([3], dtype=np.int64)}
    content = canonical.content(golden(), state, month=MONTH, name="golden")
    assert content.version == "f70de7a29821858997c9e2f0442a4cc6"
    assert content.state_version == "b2eb5f32a2587e11b9495fb642cb2a35"
    assert content.state == (
        b"wavehouse state 1\n<i8 1 8 1\na\x03\x00\x00\x00\x00\x00\x00\x00"
        b"<f8 1x2 16 1\nb\x00\x00\x00\x00\x00\x00\xf0?\x00\x00\x00\x00\x00\x00\x00\x80"
    )


@pytest.mark.slow
@given(cells=FRAMES, cut=st.integers(0, 12))
def test_how_a_frame_is_held_does_not_matter(cells: list[tuple[object, ...]], cut: int) -> None:
    frame = frame_of(cells)
    chunked = pl.concat([frame[:cut], frame[cut:]], rechunk=False)
    longer = pl.concat([frame, frame]).slice(0, frame.height)
    flagged = frame.with_columns(pl.col("sign").set_sorted()) if frame.height < 2 else frame
    assert version_of(frame) == version_of(chunked) == version_of(longer) == version_of(flagged)


@pytest.mark.slow
@given(cells=FRAMES)
def test_what_lies_under_a_null_does_not_matter(cells: list[tuple[object, ...]]) -> None:
    frame = frame_of(cells)
    one, two = (
        frame.with_columns(
            pl.when(pl.int_range(pl.len()) % 2 == 0).then(pl.lit(junk)).alias("price")
        )
        for junk in (1.0, 2.0)
    )
    hidden = [f.with_columns(pl.when(pl.lit(value=False)).then("price")) for f in (one, two)]
    assert version_of(hidden[0]) == version_of(hidden[1])


@pytest.mark.slow
@given(cells=st.lists(CELLS, min_size=1, max_size=8), data=st.data())
def test_every_cell_matters(cells: list[tuple[object, ...]], data: st.DataObject) -> None:
    row = data.draw(st.integers(0, len(cells) - 1))
    column = data.draw(st.integers(0, len(SCHEMA) - 1))
    other = data.draw(CELLS)[column]
    old = cells[row][column]
    both_nan = isinstance(old, float) and isinstance(other, float) and old != old and other != other  # noqa: PLR0124
    is_same = (old is None and other is None) or both_nan or (old == other and old is not None)
    changed = [list(cell) for cell in cells]
    changed[row][column] = other
    versions = version_of(frame_of(cells)), version_of(frame_of([tuple(c) for c in changed]))
    assert (versions[0] == versions[1]) == is_same


def test_names_types_order_and_columns_matter() -> None:
    frame = pl.DataFrame({"a": [1, 0], "b": [1, 0]}, schema={"a": pl.Int32, "b": pl.Int32})
    others = [
        frame.rename({"a": "c"}),
        frame.with_columns(pl.col("a").cast(pl.UInt32)),
        frame.with_columns(pl.col("a").cast(pl.Boolean)),
        frame.select("b", "a"),
        frame.select("a"),
        frame.reverse(),
        frame.head(1),
        frame.head(0),
        frame.with_columns(pl.Series("a", [1, None], dtype=pl.Int32)),
    ]
    versions = {version_of(f) for f in [frame, *others]}
    assert len(versions) == len(others) + 1


@pytest.mark.parametrize(
    ("dtype", "version"),
    [
        (pl.Datetime("us", "UTC"), "540f45af28a7ca698bc241a59474116c"),
        (pl.Date, "0ede9f505d273a436ba59cd39e77399f"),
        (pl.Duration("ms"), "a0897b0d8098efe2a57058d83c0220a2"),
        (pl.Boolean, "e300f3b6728f891f7928cfa7bb6fc997"),
        (pl.String, "ec49dafb25d04a898bc51da1bd8f132a"),
    ],
)
def test_the_hash_of_a_column_with_nulls_never_changes(dtype: pl.DataType, version: str) -> None:
    column = pl.Series("x", [None, 1, None, 0], dtype=pl.Int32).cast(dtype)
    assert version_of(pl.DataFrame([column])) == version
    assert version_of(pl.DataFrame([column.fill_null(strategy="backward")])) != version


def test_where_one_text_ends_and_the_next_begins_matters() -> None:
    texts = [["ab", "c"], ["a", "bc"], ["abc", ""], ["abc", None]]
    assert len({version_of(pl.DataFrame({"x": text})) for text in texts}) == len(texts)


def test_the_zone_of_an_instant_matters() -> None:
    frame = golden().select("ts")
    naive = frame.with_columns(pl.col("ts").dt.replace_time_zone(None))
    assert version_of(frame) != version_of(naive)


def test_what_is_written_is_what_was_hashed() -> None:
    """Otherwise one version could have two contents."""
    frame = pl.DataFrame({"x": [-0.0, -math.nan, None, 1.0]})
    rows = canonical.content(frame, None, month=MONTH, name="x").rows
    zero, nan = rows["x"][0], rows["x"][1]
    assert math.copysign(1, zero) == 1
    assert np.float64(nan).tobytes() == np.float64(math.nan).tobytes()
    assert rows["x"].null_count() == 1


def test_events_of_one_bar_keep_their_order() -> None:
    frame = pl.DataFrame({"ts": [MAY + dt.timedelta(hours=1), MAY, MAY], "event": ["c", "b", "a"]})
    rows = canonical.content(frame, None, month=MONTH, name="x").rows
    assert rows["event"].to_list() == ["b", "a", "c"]
    many = pl.DataFrame({"ts": [MAY + dt.timedelta(hours=i % 7) for i in range(9999)]})
    numbered = many.reverse().with_row_index("event")
    rows = canonical.content(numbered, None, month=MONTH, name="x").rows
    assert all(part["event"].is_sorted() for part in rows.partition_by("ts"))


@pytest.mark.parametrize("dtype", [pl.List(pl.Int8), pl.Struct({"a": pl.Int8}), pl.Decimal(9, 2)])
def test_only_flat_columns(dtype: pl.DataType) -> None:
    with pytest.raises(SchemaError, match="x: expected a flat column"):
        version_of(pl.DataFrame(schema={"x": dtype}))


def test_instants_are_microseconds() -> None:
    frame = candles(MONTH, 2).with_columns(pl.col("ts").dt.cast_time_unit("ms"))
    with pytest.raises(SchemaError, match="ts: expected Datetime in us"):
        version_of(frame)


STATES = st.dictionaries(
    st.text(max_size=5),
    st.one_of(
        hnp.arrays(np.float64, hnp.array_shapes(min_dims=0, min_side=0)),
        hnp.arrays(np.int64, hnp.array_shapes(min_dims=0, min_side=0)),
        hnp.arrays(np.bool_, hnp.array_shapes(min_dims=0, min_side=0)),
        hnp.arrays(np.dtype("<U3"), 3, elements=st.text("aé😀", max_size=3)),
    ),
    max_size=4,
)


@given(state=STATES)
def test_a_state_comes_back_bit_for_bit(state: dict[str, np.ndarray]) -> None:
    encoded = canonical.encode_state(state)
    back = canonical.decode_state(encoded)
    assert list(back) == sorted(state)
    for name, array in state.items():
        assert (back[name].dtype, back[name].shape) == (array.dtype, array.shape)
        np.testing.assert_array_equal(back[name], array)
        if array.dtype.kind == "f":
            signs = np.signbit(array) | np.isnan(array)
            np.testing.assert_array_equal(np.signbit(back[name]) | np.isnan(array), signs)
        assert back[name].flags.writeable
    assert canonical.encode_state(back) == encoded


@given(state=STATES)
def test_how_an_array_lies_in_memory_does_not_matter(state: dict[str, np.ndarray]) -> None:
    swapped = {n: np.asfortranarray(a.astype(a.dtype.newbyteorder(">"))) for n, a in state.items()}
    shuffled = dict(reversed(swapped.items()))
    if not any(a.ndim == 0 for a in state.values()):  # asfortranarray gives every array an axis
        assert canonical.encode_state(shuffled) == canonical.encode_state(state)


@given(state=STATES, data=st.data())
def test_half_a_state_is_no_state(state: dict[str, np.ndarray], data: st.DataObject) -> None:
    encoded = canonical.encode_state(state)
    cut = data.draw(st.integers(0, len(encoded) - 1))
    try:
        half = canonical.decode_state(encoded[:cut])
    except ValueError:
        return
    assert len(half) < len(state)  # cut between two arrays: only the hash can tell


def test_state_of_another_kind_is_refused() -> None:
    arrays = (np.array([1j]), np.array(["2017"], dtype="M8[s]"), np.array([1], dtype=np.longdouble))
    for array in arrays:
        with pytest.raises(InputError, match=r"state\.x"):
            canonical.encode_state({"x": array})
