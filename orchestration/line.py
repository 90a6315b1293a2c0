"""Builds the ``Line`` from settings: the one place where the ports meet their implementations."""

from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING

from assets.line import Line
from market.ports import PartitionKey
from market.settings import HomeSettings, LearningSettings, ProviderSettings, StorageSettings
from orchestration.resources import open_book, open_lake, provider_factory

if TYPE_CHECKING:
    from learning.tracking import ModelStore


def tracking_places(home: HomeSettings, learning: LearningSettings) -> tuple[str, str]:
    """Return (tracking URI, artefact root), below the home folder unless configured."""
    folder = home.home.resolve() / "mlruns"
    return (
        learning.tracking_uri or f"sqlite:///{folder / 'mlflow.db'}",
        learning.artifact_root or str(folder / "artifacts"),
    )


def build_line(
    *,
    home: HomeSettings | None = None,
    on_published: Callable[[PartitionKey], None] = lambda _key: None,
) -> Line:
    """Read the settings once and return the line that assets and commands work on."""
    home = home or HomeSettings()

    @cache
    def model_store() -> "ModelStore":
        from learning.tracking import ModelStore  # noqa: PLC0415 - MLflow takes 4 s to import

        return ModelStore(*tracking_places(home, LearningSettings()))

    return Line(
        lake=open_lake(home, StorageSettings()),
        book=open_book(home),
        provider_for=provider_factory(ProviderSettings()),
        model_store=model_store,
        on_published=on_published,
    )
