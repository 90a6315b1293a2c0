"""One run of a stage over its partitions: write, audit, publish, for every stage alike.

Rows are computed, every blocking check runs on them, and only then does the pointer move. Each
partition ends with its own event and data version: one as soon as it is published (a run that dies
keeps what it finished) and another after ``Output`` (with its picture), because the events which
Dagster makes at ``Output`` stamp a whole range with one version, and the last counts.
"""

from collections.abc import Callable, Generator, Iterator

import dagster as dg

from assets import checks, events
from assets.line import Line
from assets.provenance import Provenance
from assets.stage import Inputs, Outcome, Plot, Stage
from market.errors import NotMaterializedError, WavehouseError
from market.ports import PartitionKey, PartitionRef

NOT_APPLICABLE = "not-applicable"
"""Data version of a partition of which there is nothing to make."""

Event = dg.AssetMaterialization | dg.AssetCheckEvaluation


class Step:
    """One run of a stage's asset over its partitions, in order."""

    def __init__(
        self,
        stage: Stage,
        line: Line,
        provenance: Provenance,
        *,
        is_asked: Callable[[str], bool],
        stale_only: bool,
    ) -> None:
        self.stage, self.line, self.provenance = stage, line, provenance
        self.is_asked, self.stale_only = is_asked, stale_only
        self.asset_key = dg.AssetKey(stage.asset_path)
        self._finished: list[dg.AssetMaterialization] = []
        self._checked = 0

    def make(self, partition: str, key: PartitionKey | str) -> Iterator[Event]:
        """Compute, audit, publish a partition and yield what happened.

        A text in the key's place says why there is nothing to make.
        """
        if isinstance(key, str):
            self._finished.append(self._nothing(partition, key))
        else:
            self._finished.append((yield from self._make(partition, key)))

    def check_results(self) -> Iterator[dg.AssetCheckResult]:
        """Return the checks' results for the run as a whole."""
        left = len(self._finished) - self._checked
        passed = f"passed in {checks.counted(self._checked, 'partition')}"
        for name in self.stage.check_names:
            yield dg.AssetCheckResult(
                asset_key=self.asset_key,
                check_name=name,
                passed=True,
                description=f"{passed}, {left} left as they are" if left else passed,
            )

    def final_events(self) -> list[dg.AssetMaterialization]:
        """Return each partition's event that counts; call it before ``Output``, yield after."""
        own_months = self.provenance.of_own_months(self.asset_key)
        return [e._replace(tags={**(e.tags or {}), **own_months}) for e in self._finished]

    def _make(
        self, partition: str, key: PartitionKey
    ) -> Generator[Event, None, dg.AssetMaterialization]:
        try:
            if not self.is_asked(partition) and (reason := self._out_of_reach(key)):
                return self._nothing(partition, reason)
            with self.line.lake.writing(key.table, key.timeframe, key.instrument):
                if self.stale_only and self.stage.is_fresh(self.line, key):
                    return self._leave(partition, key)
                ref, inputs, plot = yield from self._write(partition, key)
            tags = self.provenance.tags(ref.version, ref.code_version, inputs)
            yield events.materialization(self.asset_key, partition, ref, tags=tags)
            self._checked += 1
            self.line.on_published(key)
            return events.materialization(self.asset_key, partition, ref, tags=tags, plot=plot)
        except WavehouseError as e:
            raise dg.Failure(
                description=f"{key.path}: {e}", metadata={"code": e.code}, allow_retries=False
            ) from e

    def _nothing(self, partition: str, reason: str) -> dg.AssetMaterialization:
        tags = self.provenance.nothing(NOT_APPLICABLE)
        return events.nothing_to_make(self.asset_key, partition, reason, tags=tags)

    def _out_of_reach(self, key: PartitionKey) -> str | None:
        """Say why a month that nobody asked for is left: it never was made, and cannot be."""
        if self.line.lake.find(key) is not None:
            return None
        try:
            self.stage.inputs(self.line, key)
        except NotMaterializedError as e:
            return f"not asked for; a backfill of other months reaches it, and cannot make it: {e}"
        return None

    def _leave(self, partition: str, key: PartitionKey) -> dg.AssetMaterialization:
        """Return the event of a partition that is as this code would make it now."""
        self.line.on_published(key)
        ref = self.line.lake.resolve(key)
        inputs = self.stage.inputs(self.line, key)
        tags = self.provenance.tags(ref.version, ref.code_version, inputs)
        return events.materialization(self.asset_key, partition, ref, tags=tags)

    def _write(
        self, partition: str, key: PartitionKey
    ) -> Generator[Event, None, tuple[PartitionRef, Inputs, Plot | None]]:
        """Compute and audit; move the pointer if every check passed."""
        inputs = self.stage.inputs(self.line, key)
        result = self.stage.compute(self.line, key, inputs)
        outcomes = checks.run(result.checks)
        for name, outcome in outcomes.items():
            yield events.evaluation(self.asset_key, partition, name, outcome)
        _refuse_if_failed(key, outcomes)
        ref = self.line.lake.write(
            key,
            result.rows,
            state=result.state,
            code_version=self.stage.code_version,
            inputs=inputs.versions,
            attributes=result.attributes,
        )
        return ref, inputs, result.plot


def _refuse_if_failed(key: PartitionKey, outcomes: dict[str, Outcome]) -> None:
    failed = {name: o for name, o in outcomes.items() if not o.passed}
    if failed:
        words = "; ".join(f"{name}: {o.description}" for name, o in failed.items())
        raise dg.Failure(description=f"{key.path}: not published, {words}", allow_retries=False)
