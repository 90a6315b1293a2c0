"""``models/<kind>_<timeframe>``: one fitted, calibrated, registered model a cutoff."""

import hashlib
import json

import polars as pl

from assets import checks
from assets.code_versions import code_version
from assets.line import Line
from assets.stage import Inputs, Result
from assets.training_sets import LearningStage
from learning import training_frame
from learning.bundle import Bundle
from market.months import month_start
from market.ports import PartitionKey
from market.tables import INSTANT, MODELS
from market.timeframes import Timeframe

KINDS = ("first_passage", "xgboost")
"""The baseline first: it is the one to beat."""


def registered_name(timeframe: str) -> str:
    """Return the name under which the models of a timeframe are registered."""
    return f"barrier_{timeframe.lower()}"


class Model(LearningStage):
    """A model of one kind: fitted on the cutoff's training set, registered as challenger."""

    table = MODELS
    group = "models"
    kinds = frozenset({"mlflow", "xgboost"})
    check_names = ("schema",)

    def __init__(self, kind: str, timeframe: Timeframe) -> None:
        super().__init__(timeframe)
        self.kind = kind

    @property
    def asset_path(self) -> list[str]:
        """Key of the asset."""
        return [self.group, f"{self.kind}_{self.timeframe}".lower()]

    @property
    def description(self) -> str:
        """Say what one row is."""
        return (
            f"One row: the {self.kind} model of {self.timeframe} trained at the cutoff, calibrated "
            "and sized on later purged blocks, logged to MLflow and registered as challenger."
        )

    @property
    def table_name(self) -> str:
        """Each kind is a series of its own."""
        return f"{self.table.name}_{self.kind}"

    @property
    def code_version(self) -> str:
        """Return what moves when the output can change."""
        return f"{self.kind}-{code_version(__name__)}"

    def inputs(self, line: Line, key: PartitionKey) -> Inputs:
        """Take the cutoff's training set."""
        source = PartitionKey("training_sets", key.timeframe, key.instrument, key.month)
        return Inputs(rows={"training_set": [line.lake.resolve(source)]})

    def compute(self, line: Line, key: PartitionKey, inputs: Inputs) -> Result:
        """Fit, log, register."""
        from learning.models import model_of, train  # noqa: PLC0415 - imports scikit-learn's kin

        refs = inputs.rows["training_set"]
        rows = training_frame.from_frame(line.lake.read(refs), refs[0].attributes["facts"])
        bundle = train(model_of(self.kind), rows)
        name = registered_name(key.timeframe)
        version = line.model_store().log(
            name,
            bundle,
            example=rows.columns(bundle.features)[-1:],
            tags={"wavehouse.training_set": refs[0].version},
        )
        made = MODELS.conform(_row(name, bundle, key))
        return Result(
            rows=made,
            attributes={
                "name": name, "version": version.version, "run_id": version.run_id,
                "artifact_path": version.artifact_path,
            },
            checks={"schema": lambda: checks.schema(MODELS, made)},
        )  # fmt: skip


def _row(name: str, bundle: Bundle, key: PartitionKey) -> pl.DataFrame:
    document = json.dumps(bundle.document(), sort_keys=True).encode()
    blocks = bundle.provenance.rows
    return pl.DataFrame(
        {
            "model": [name],
            "kind": [bundle.kind],
            "timeframe": [key.timeframe],
            "ts": pl.Series([month_start(key.month)]).cast(INSTANT),
            "bundle": [hashlib.sha256(document).hexdigest()[:32]],
            **{f"rows_{block}": pl.Series([n], dtype=pl.UInt32) for block, n in blocks.items()},
        }
    )
