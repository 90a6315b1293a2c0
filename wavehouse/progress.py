"""Progress that a person can follow: one bar an asset, moved by each published partition."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TaskID,
    TextColumn,
)

from assets.line import Line
from assets.stage import Stage
from market.ports import PartitionKey
from orchestration.line import build_line


@dataclass(slots=True)
class Watch:
    """A line whose published partitions move bars."""

    progress: Progress
    line: Line
    tasks: dict[tuple[str, str], TaskID] = field(default_factory=dict)

    def expect(self, stages: Sequence[Stage], partitions: int) -> None:
        """Add a bar for each stage that a run is about to look at."""
        self.progress.start()  # not before: without bars it would leave an empty line
        for stage in stages:
            name = "/".join(stage.asset_path)
            self.tasks[_slot(stage)] = self.progress.add_task(name, total=partitions)

    def published(self, key: PartitionKey) -> None:
        """Move the bar of the partition's asset."""
        task = self.tasks.get((key.table, key.timeframe), self.tasks.get((key.table, "")))
        if task is not None:
            self.progress.advance(task)


def _slot(stage: Stage) -> tuple[str, str]:
    return (stage.table_name, stage.timeframe.value if stage.timeframe else "")


@contextmanager
def watched_line(console: Console) -> Iterator[Watch]:
    """Yield a watch over the line of the settings."""
    progress = Progress(
        SpinnerColumn(finished_text="[green]✓[/green]"),
        TextColumn("{task.description:<24}"),
        BarColumn(bar_width=28),
        MofNCompleteColumn(),
        console=console,
    )
    watches: list[Watch] = []

    def on_published(key: PartitionKey) -> None:
        watches[0].published(key)

    watches.append(Watch(progress, build_line(on_published=on_published)))
    try:
        yield watches[0]
    finally:
        if progress.live.is_started:
            progress.stop()
