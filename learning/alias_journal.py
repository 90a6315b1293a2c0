"""Who moved which alias, when, why, from and to: one append-only table beside MLflow's own."""

import datetime as dt
from dataclasses import dataclass

import sqlalchemy as sa

METADATA = sa.MetaData()
ALIAS_JOURNAL = sa.Table(
    "alias_journal",
    METADATA,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("at_us", sa.BigInteger, nullable=False),
    sa.Column("model", sa.String(256), nullable=False, index=True),
    sa.Column("alias", sa.String(256), nullable=False),
    sa.Column("from_version", sa.Integer, nullable=True),
    sa.Column("to_version", sa.Integer, nullable=False),
    sa.Column("who", sa.String(256), nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
)


@dataclass(frozen=True, slots=True)
class AliasMove:
    """One move of an alias; ``from_version`` is ``None`` where it named nothing before."""

    at: dt.datetime
    model: str
    alias: str
    from_version: int | None
    to_version: int
    who: str
    reason: str


class AliasJournal:
    """The journal in the database at ``url``; makes its table on the first entry."""

    def __init__(self, url: str) -> None:
        self._engine = sa.create_engine(url, poolclass=sa.pool.NullPool)

    def add(self, move: AliasMove) -> None:
        """Append one entry."""
        METADATA.create_all(self._engine)
        at_us = (move.at - dt.datetime(1970, 1, 1, tzinfo=dt.UTC)) // dt.timedelta(microseconds=1)
        with self._engine.begin() as connection:
            connection.execute(
                ALIAS_JOURNAL.insert().values(
                    at_us=at_us,
                    model=move.model,
                    alias=move.alias,
                    from_version=move.from_version,
                    to_version=move.to_version,
                    who=move.who,
                    reason=move.reason,
                )
            )

    def moves(self, model: str, alias: str | None = None) -> list[AliasMove]:
        """Return the entries of a model in order, of one alias or of all."""
        if not sa.inspect(self._engine).has_table(ALIAS_JOURNAL.name):
            return []
        query = sa.select(ALIAS_JOURNAL).where(ALIAS_JOURNAL.c.model == model)
        if alias is not None:
            query = query.where(ALIAS_JOURNAL.c.alias == alias)
        with self._engine.connect() as connection:
            rows = connection.execute(query.order_by(ALIAS_JOURNAL.c.id)).all()
        return [
            AliasMove(
                at=dt.datetime(1970, 1, 1, tzinfo=dt.UTC) + dt.timedelta(microseconds=row.at_us),
                model=row.model,
                alias=row.alias,
                from_version=row.from_version,
                to_version=row.to_version,
                who=row.who,
                reason=row.reason,
            )
            for row in rows
        ]
