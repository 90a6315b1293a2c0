"""Sensors: what the line notices by itself."""

import dagster as dg

from assets.line import Line
from orchestration.partitions import INSTRUMENTS


@dg.sensor(
    name="instruments_file",
    minimum_interval_seconds=30,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Keeps the instrument partitions equal to instruments.toml.",
)
def instruments_file(
    context: dg.SensorEvaluationContext, line: dg.ResourceParam[Line]
) -> dg.SensorResult:
    """Add a partition for each new instrument, remove those that are gone from the file."""
    wanted = {instrument.id for instrument in line.book}
    present = set(context.instance.get_dynamic_partitions(str(INSTRUMENTS.name)))
    requests = [
        request
        for request in (
            INSTRUMENTS.build_add_request(sorted(wanted - present)),
            INSTRUMENTS.build_delete_request(sorted(present - wanted)),
        )
        if request.partition_keys
    ]
    return dg.SensorResult(dynamic_partitions_requests=requests)
