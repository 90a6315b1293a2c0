"""From labels to a champion: training sets, models and the gate over the sample's H4 bars."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from assets.checks import run as run_checks
from assets.evaluation import WAITING, Evaluation
from assets.line import Line
from assets.models import KINDS, Model
from assets.stage import Result, Stage
from assets.training_sets import POOLED, TrainingSets, maturity
from learning import training_frame
from learning.edge import EDGE_TAG
from learning.tracking import ModelStore
from market.instruments import load_instruments
from market.months import month_range, month_start
from market.ports import PartitionKey, PartitionRef
from market.settings import ProviderSettings
from market.timeframes import Timeframe
from orchestration.graph import data_stages
from orchestration.resources import provider_factory
from storage.lake import ParquetLake

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("learning")]
MONTHS = tuple(month_range("2017-04", "2018-02"))
CUTOFFS = ("2017-12", "2018-01", "2018-02")
H4 = Timeframe.H4


def publish(line: Line, stage: Stage, instrument: str, month: str) -> tuple[Result, PartitionRef]:
    """Make a partition as the asset does, without Dagster."""
    key = stage.key(line, instrument, month)
    inputs = stage.inputs(line, key)
    result = stage.compute(line, key, inputs)
    failed = {n: o.description for n, o in run_checks(result.checks).items() if not o.passed}
    assert not failed
    ref = line.lake.write(
        key, result.rows, state=result.state, code_version=stage.code_version,
        inputs=inputs.versions, attributes=result.attributes,
    )  # fmt: skip
    return result, ref


@pytest.fixture(scope="module")
def line(tmp_path_factory: pytest.TempPathFactory) -> Line:
    """Return a line whose H4 data is made and whose cutoffs were trained and judged in order."""
    folder = tmp_path_factory.mktemp("learning")
    store = ModelStore(f"sqlite:///{folder / 'mlflow.db'}", folder / "artifacts")
    book = load_instruments(Path(__file__).parents[2] / "instruments.toml")
    made = Line(
        ParquetLake(folder / "lake", fsync=False),
        book,
        provider_factory(ProviderSettings()),
        lambda: store,
    )
    for stage in data_stages():
        if stage.timeframe in (None, H4):
            for month in MONTHS:
                publish(made, stage, "EURUSD", month)
    for cutoff in CUTOFFS:
        for stage in (TrainingSets(H4), *(Model(kind, H4) for kind in KINDS), Evaluation(H4)):
            publish(made, stage, POOLED, cutoff)
    return made


def of(line: Line, stage: Stage, cutoff: str) -> PartitionRef:
    """Return a cutoff's published partition."""
    return line.lake.resolve(stage.key(line, POOLED, cutoff))


def test_a_training_set_holds_what_had_matured_and_grows(line: Line) -> None:
    sizes = []
    for cutoff in CUTOFFS:
        rows = line.lake.read([of(line, TrainingSets(H4), cutoff)])
        assert (rows["matured_at"].dt.timestamp("us") <= month_start(cutoff)).all()
        assert rows["label"].null_count() == 0
        sizes.append(rows.height)
    assert sizes == sorted(set(sizes))


def test_a_row_that_had_not_matured_at_the_cutoff_is_left_out_though_it_is_final_now(
    line: Line,
) -> None:
    cutoff = "2017-12"
    labels = line.lake.read(
        [line.lake.resolve(PartitionKey("labels", H4.value, "EURUSD", "2017-11"))]
    )
    late = labels.filter(
        pl.col("status") == "final", pl.col("matured_at").dt.timestamp("us") > month_start(cutoff)
    )
    assert late.height
    assert late["enhanced_triple_barrier"].null_count() < late.height
    ref = of(line, TrainingSets(H4), cutoff)
    kept = line.lake.read([ref])
    assert not kept["matured_at"].is_in(late["matured_at"].implode()).any()
    assert ref.attributes["facts"]["dropped"]["immature"] == late.height


def test_the_maturity_check_sees_one_late_row(line: Line) -> None:
    rows = line.lake.read([of(line, TrainingSets(H4), "2018-01")])
    assert maturity(rows, month_start("2018-01")).passed
    last = int(rows["matured_at"].dt.timestamp("us").max())  # type: ignore[arg-type]
    assert not maturity(rows, last - 1).passed


def test_a_training_set_comes_back_from_the_lake_to_the_bit(line: Line) -> None:
    ref = of(line, TrainingSets(H4), "2018-01")
    frame = line.lake.read([ref])
    back = training_frame.from_frame(frame, ref.attributes["facts"])
    assert training_frame.to_frame(back).equals(frame)
    assert training_frame.facts(back) == dict(ref.attributes["facts"])
    assert back.x.shape == (frame.height, len(back.features))
    assert np.isnan(back.x).sum() == frame.select(back.features).null_count().sum_horizontal()[0]


def test_the_first_champion_is_the_baseline_and_every_move_is_journalled(line: Line) -> None:
    store = line.model_store()
    moves = store.journal("barrier_h4", "champion")
    assert moves
    assert moves[0].from_version is None
    assert (
        moves[0].to_version == of(line, Model("first_passage", H4), "2017-12").attributes["version"]
    )
    assert "no champion yet" in moves[0].reason
    champion = store.champion("barrier_h4")
    assert champion is not None
    assert champion.version == moves[-1].to_version


def test_a_cutoff_is_judged_once_its_month_has_matured(line: Line) -> None:
    judged = line.lake.read([of(line, Evaluation(H4), "2017-12")])
    assert set(judged["kind"]) == set(KINDS)
    ts = judged["ts"].dt.timestamp("us")
    assert ts.min() >= month_start("2017-12")  # type: ignore[operator]
    assert ts.max() < month_start("2018-01")  # type: ignore[operator]
    total = judged.select(pl.sum_horizontal("p_bearish", "p_neutral", "p_bullish")).to_series()
    np.testing.assert_allclose(total.to_numpy(), 1.0, rtol=1e-12)
    running = of(line, Evaluation(H4), "2018-02")  # the sample ends on 7 February
    assert running.rows == 0
    assert running.attributes["verdict"] == WAITING


def test_judging_an_old_cutoff_again_moves_no_alias(line: Line) -> None:
    store = line.model_store()
    standing = store.champion("barrier_h4")
    assert standing is not None
    newest = int(of(line, Model("first_passage", H4), "2018-02").attributes["version"])
    store.promote("barrier_h4", newest, who="a test", reason="stands for a later cutoff")
    before = store.journal("barrier_h4", "champion")
    try:
        result, _ = publish(line, Evaluation(H4), POOLED, "2017-12")
        assert list(store.journal("barrier_h4", "champion")) == list(before)
        assert all("trained later" in words for words in result.attributes["decisions"].values())
    finally:
        store.promote("barrier_h4", standing.version, who="a test", reason="as it was")


def test_judging_the_newest_cutoff_again_changes_nothing(line: Line) -> None:
    store, stage = line.model_store(), Evaluation(H4)
    was = of(line, stage, "2018-01")
    tags = {v.version: v.tags for v in store.versions("barrier_h4")}
    moves = list(store.journal("barrier_h4"))
    _, again = publish(line, stage, POOLED, "2018-01")
    assert again == was
    assert {v.version: v.tags for v in store.versions("barrier_h4")} == tags
    assert list(store.journal("barrier_h4")) == moves


def test_every_judged_version_says_where_its_edge_is(line: Line) -> None:
    versions = {v.version: v for v in line.model_store().versions("barrier_h4")}
    for cutoff in CUTOFFS[:2]:
        found = of(line, Evaluation(H4), cutoff).attributes
        for kind in KINDS:
            version = versions[int(of(line, Model(kind, H4), cutoff).attributes["version"])]
            assert version.tags[EDGE_TAG] == found["edge"][kind]
            look = found["look"][kind]
            assert version.tags.get("wavehouse.look") == (str(look) if look else None)
            metrics = found["metrics"][kind]
            parts = metrics["log_loss_touch"] + metrics["log_loss_direction"]
            assert parts == pytest.approx(metrics["log_loss"], rel=1e-12)
    waiting = int(of(line, Model("xgboost", H4), "2018-02").attributes["version"])
    assert EDGE_TAG not in versions[waiting].tags


def test_the_same_training_is_the_same_version(line: Line) -> None:
    count = len(line.model_store().versions("barrier_h4"))
    _, again = publish(line, Model("xgboost", H4), POOLED, "2018-01")
    assert len(line.model_store().versions("barrier_h4")) == count
    assert again.version == of(line, Model("xgboost", H4), "2018-01").version


def test_training_sets_do_not_change_when_later_bars_arrive(line: Line) -> None:
    """A cutoff's rows depend on what had matured by it, not on what the lake holds since."""
    stage = TrainingSets(H4)
    was = of(line, stage, "2017-12").version
    _, again = publish(line, stage, POOLED, "2017-12")
    assert again.version == was
    assert not [path for path in again.inputs if path.endswith(("2017-12", "2018-01"))]
