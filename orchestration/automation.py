"""When assets make themselves, as named conditions.

``eager()`` acts only on the latest month and waits for a month that may not exist yet; both are
taken out here (tests/orchestration/test_automation.py shows what fires).
"""

import dagster as dg

WHEN_UPSTREAM_CHANGES = (
    dg.AutomationCondition.eager()
    .without(dg.AutomationCondition.in_latest_time_window())
    .without(~dg.AutomationCondition.any_deps_missing())
    .with_label("when_upstream_changes")
)
"""Data stages: any month, as soon as something to its left was materialised anew."""

HOURLY_LATEST = dg.AutomationCondition.on_cron("@hourly").with_label("hourly_latest")
"""Ingestion: the running month, every hour."""

MONTHLY = dg.AutomationCondition.on_cron("0 3 2 * *").with_label("monthly")
"""Models: the new cutoff, on the second of the month (the label of the last day has matured)."""
