"""Schedules: the running month every hour, a new cutoff every month."""

import datetime as dt
from collections.abc import Sequence
from typing import Any

import dagster as dg

from assets.line import Line
from orchestration.partitions import INSTRUMENTS, partition_key


def build_schedules(jobs: Sequence[Any]) -> list[dg.ScheduleDefinition]:
    """Return the schedules of ``backfill`` (hourly, running month) and ``train`` (monthly)."""
    by_name = {job.name: job for job in jobs}

    @dg.schedule(
        name="running_month",
        job=by_name["backfill"],
        cron_schedule="5 * * * *",
        description="Bring every instrument's running month up to date.",
    )
    def running_month(
        context: dg.ScheduleEvaluationContext, line: dg.ResourceParam[Line]
    ) -> list[dg.RunRequest]:
        month = f"{_now(context):%Y-%m}"
        # one that the sensor has not added yet would fail the tick of all
        present = context.instance.get_dynamic_partitions(str(INSTRUMENTS.name))
        return [
            dg.RunRequest(
                run_key=f"{i.id}-{_now(context):%Y-%m-%dT%H}",
                partition_key=partition_key(i.id, month),
            )
            for i in line.book
            if i.id in present
        ]

    @dg.schedule(
        name="monthly_training",
        job=by_name["train"],
        cron_schedule="0 3 2 * *",
        description="Train and judge at the month's cutoff.",
    )
    def monthly_training(context: dg.ScheduleEvaluationContext) -> dg.RunRequest:
        key = f"{_now(context):%Y-%m}-01"
        return dg.RunRequest(run_key=key, partition_key=key)

    return [running_month, monthly_training]


def _now(context: dg.ScheduleEvaluationContext) -> dt.datetime:
    return context.scheduled_execution_time
