"""Which store the settings choose: the Parquet lake, or ClickHouse where a DSN names it."""

from market.ports import Lake
from market.settings import HomeSettings, StorageSettings, WarehouseSettings
from storage.lake import ParquetLake


def open_store(home: HomeSettings, storage: StorageSettings, warehouse: WarehouseSettings) -> Lake:
    """Open the warehouse of ``WAREHOUSE_DSN``, or the Parquet lake below the home folder."""
    dsn = warehouse.dsn.get_secret_value()
    if not dsn:
        return open_parquet(home, storage)
    from storage.clickhouse.lake import open_warehouse  # noqa: PLC0415 - only where there is one

    return open_warehouse(dsn, lease_s=warehouse.lease_s)


def open_parquet(home: HomeSettings, storage: StorageSettings) -> ParquetLake:
    """Open the Parquet lake below the home folder."""
    return ParquetLake(
        home.lake_root,
        retention_versions=storage.retention_versions,
        fsync=storage.fsync,
        is_near=storage.is_near,
    )
