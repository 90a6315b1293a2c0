"""The schema brought up to date, by whichever process comes first.

Belongs here: running migrations. Keep out: the migrations (``migrations/versions``).

Processes that start together take turns: SQLite gives the lock of the whole file with the
transaction, Postgres an advisory lock; whoever comes second finds nothing left to do. A migration
is there whole or not at all, in both.
"""

from pathlib import Path
from typing import Final

import sqlalchemy as sa
from alembic.config import Config
from alembic.runtime.environment import EnvironmentContext
from alembic.runtime.migration import RevisionStep
from alembic.script import ScriptDirectory
from alembic.util import CommandError

from market.errors import StorageError

SCRIPTS: Final = Path(__file__).with_name("migrations")
_LOCK: Final = 0x5741_5645  # any number that nobody else's program takes


def upgrade(engine: sa.Engine) -> None:
    """Apply every migration that the database does not have yet, in one transaction.

    Raise ``StorageError`` where the database is of a later version of this program.
    """
    config = Config()
    config.set_main_option("script_location", SCRIPTS.as_posix().replace("%", "%%"))
    scripts = ScriptDirectory.from_config(config)

    def steps(revision: str | tuple[str, ...], _: object) -> list[RevisionStep]:
        return list(scripts._upgrade_revs("head", revision))  # type: ignore[arg-type]  # noqa: SLF001 - as alembic.command does

    with engine.begin() as connection:
        if connection.dialect.name == "postgresql":
            connection.execute(sa.text(f"SELECT pg_advisory_xact_lock({_LOCK})"))
        environment = EnvironmentContext(config, scripts, fn=steps)
        environment.configure(connection=connection)
        try:
            environment.run_migrations()
        except CommandError as e:
            raise StorageError(f"database: expected a schema of this version, was: {e}") from e
