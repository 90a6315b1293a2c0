"""When assets make themselves, as named conditions.

``eager()`` acts only on the latest month and waits for a month that may not exist yet; both are
taken out here (tests/orchestration/test_automation.py shows what fires).
"""

import dagster as dg

WHEN_UPSTREAM_CHANGES = (
    dg.AutomationCondition.eager()
    .without(dg.AutomationCondition.in_latest_time_window())
    .without(~dg.AutomationCondition.any_deps_missing())
    .replace(
        "newly_updated_without_root",
        dg.AutomationCondition.data_version_changed()
        & ~dg.AutomationCondition.executed_with_root_target(),
    )
    .with_label("when_upstream_changes")
)
"""Data stages: any month, as soon as something to its left has another data version.

A month that was made again and came out as it was wakes nobody: so a restated month propagates no
further than its first unchanged result.
"""

HOURLY_LATEST = dg.AutomationCondition.on_cron("@hourly").with_label("hourly_latest")
"""Ingestion: the running month, every hour."""

MONTHLY = dg.AutomationCondition.on_cron("0 3 2 * *").with_label("monthly")
"""Models: the new cutoff, on the second of the month (the label of the last day has matured)."""
