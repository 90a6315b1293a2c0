"""The code location: every asset, job, schedule and sensor, wired.

``build_defs(**overrides)`` takes another ``Line`` (a lake in a temporary folder, a fake provider),
which is how tests run the graph.
"""

import dagster as dg

from assets.build import Condition, cutoff_asset, data_asset
from assets.line import Line
from assets.stage import Stage
from orchestration.automation import HOURLY_LATEST, MONTHLY, WHEN_UPSTREAM_CHANGES
from orchestration.dependencies import wiring
from orchestration.graph import data_stages, learning_stages
from orchestration.jobs import build_jobs
from orchestration.line import build_line
from orchestration.partitions import CUTOFFS
from orchestration.schedules import build_schedules
from orchestration.sensors import instruments_file


def build_defs(*, line: Line | None = None) -> dg.Definitions:
    """Wire the graph to a line; without one, to that of the settings."""
    assets = [data_asset(stage, wiring(stage, _when(stage))) for stage in data_stages()]
    assets += [cutoff_asset(stage, CUTOFFS, wiring(stage, MONTHLY)) for stage in learning_stages()]
    jobs = build_jobs()
    return dg.Definitions(
        assets=assets,
        jobs=jobs,
        schedules=build_schedules(jobs),
        sensors=[instruments_file],
        resources={"line": line or build_line()},
        executor=dg.in_process_executor,
    )


def _when(stage: Stage) -> Condition:
    return WHEN_UPSTREAM_CHANGES if stage.timeframe else HOURLY_LATEST


@dg.definitions
def defs() -> dg.Definitions:
    """Load the code location."""
    return build_defs()
