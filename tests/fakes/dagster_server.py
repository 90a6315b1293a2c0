"""A Dagster webserver on loopback that holds every question against Dagster's own schema.

What is launched is made by a ``Workshop`` in a thread, and told as Dagster's event log has it.
"""

import itertools
import json
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from dagster_graphql.schema import create_schema
from graphql import OperationDefinitionNode, parse, validate

from market.ports import PartitionKey
from orchestration.partitions import partition_key
from tests.fakes.line import Workshop, failure, stages_of

SCHEMA = create_schema().graphql_schema
PAGE = 5
"""Events of an answer at most, whatever is asked: so that cursors are used."""


@dataclass(slots=True)
class FakeRun:
    """A run as the server knows it."""

    tags: Mapping[str, str]
    paths: list[list[str]]
    status: str = "STARTED"
    events: list[dict[str, Any]] = field(default_factory=list)


class FakeDagster:
    """The server; ``line_of`` makes a workshop that tells of published partitions."""

    def __init__(self, workshop_of: Callable[[Callable[[PartitionKey], None]], Workshop]) -> None:
        self.runs: dict[str, FakeRun] = {}
        self.partitions: list[str] = []
        self.ended: list[tuple[str, str]] = []
        self.is_away = False
        self.is_deaf = False  # takes what is launched and does nothing
        self.loses_answers = 0
        self._workshop_of = workshop_of
        self._numbers = itertools.count(1)
        self._threads: list[threading.Thread] = []

    def answer(self, document: str, variables: Mapping[str, Any]) -> dict[str, Any]:
        """Return what Dagster would, for a document that it would take."""
        parsed = parse(document)
        errors = validate(SCHEMA, parsed)
        assert not errors, errors
        operation = parsed.definitions[0]
        assert isinstance(operation, OperationDefinitionNode)
        assert operation.name is not None
        return getattr(self, f"_{operation.name.value.lower()}")(**variables)  # type: ignore[no-any-return]

    def join(self) -> None:
        """Wait for what was launched."""
        for thread in self._threads:
            thread.join()

    def _add(self, repository: Any, definition: str, key: str) -> dict[str, Any]:
        assert repository == {
            "repositoryName": "__repository__", "repositoryLocationName": "wavehouse"
        }  # fmt: skip
        assert definition == "instrument"
        is_known = key in self.partitions
        self.partitions.append(key)
        kind = "DuplicateDynamicPartitionError" if is_known else "AddDynamicPartitionSuccess"
        return {"addDynamicPartition": {"__typename": kind}}

    def _launch(self, params: Any) -> dict[str, Any]:
        if params["selector"]["jobName"] != "backfill":
            told = {"__typename": "PipelineNotFoundError", "message": "no such job"}
            return {"launchRun": told}
        run_id = f"run-{next(self._numbers)}"
        tags = {tag["key"]: tag["value"] for tag in params["executionMetadata"]["tags"]}
        paths = [key["path"] for key in params["selector"]["assetSelection"]]
        run = self.runs[run_id] = FakeRun(tags, paths)
        if not self.is_deaf:
            thread = threading.Thread(target=self._make, args=(run,))
            self._threads.append(thread)
            thread.start()
        return {"launchRun": {"__typename": "LaunchRunSuccess", "run": {"runId": run_id}}}

    def _runs(self, filter: Any) -> dict[str, Any]:  # noqa: A002 - the schema's word
        tags = {tag["key"]: tag["value"] for tag in filter["tags"]}
        found = [
            {"runId": run_id}
            for run_id, run in self.runs.items()
            if run.status in filter["statuses"] and tags.items() <= run.tags.items()
        ]
        return {"runsOrError": {"__typename": "Runs", "results": found}}

    def _follow(self, runId: str, after: str | None, limit: int) -> dict[str, Any]:  # noqa: N803
        if runId not in self.runs:
            gone = {"__typename": "RunNotFoundError"}
            return {"runOrError": gone, "logsForRun": gone}
        run, start = self.runs[runId], int(after or 0)
        status, events = run.status, run.events[start : start + min(limit, PAGE)]
        end = start + len(events)
        return {
            "runOrError": {"__typename": "Run", "status": status},
            "logsForRun": {
                "__typename": "EventConnection",
                "cursor": str(end),
                "hasMore": end < len(run.events),
                "events": events,
            },
        }

    def _terminate(self, runId: str, policy: str) -> dict[str, Any]:  # noqa: N803
        self.ended.append((runId, policy))
        self.runs[runId].status = "CANCELED"
        return {"terminateRun": {"__typename": "TerminateRunSuccess"}}

    def _make(self, run: FakeRun) -> None:
        """Materialise what was launched; stop at the next partition once it is cancelled."""

        def published(key: PartitionKey) -> None:
            stage = next(s for s in stages_of(key.timeframe) if s.table_name == key.table)
            event = {
                "__typename": "MaterializationEvent",
                "partition": partition_key(key.instrument, key.month),
                "assetKey": {"path": stage.asset_path},
            }
            run.events += [{"__typename": "LogMessageEvent"}, event, event]
            assert run.status != "CANCELED"

        first, last = (run.tags[f"dagster/asset_partition_range_{end}"] for end in ("start", "end"))
        instrument, month = first.split("|")
        months = [month[:7], last.split("|")[1][:7]]
        stages = [s for s in stages_of("H4") if s.asset_path in run.paths]
        workshop = self._workshop_of(published)
        result = workshop.run(
            stages, months, instrument=instrument, succeeds=None,
            stale_only=run.tags["wavehouse/stale_only"] == "true",
        )  # fmt: skip
        if not result.success:
            told = {"description": failure(result), "metadataEntries": []}
            run.events.append(
                {
                    "__typename": "ExecutionStepFailureEvent",
                    "stepKey": "step",
                    "error": {"message": failure(result)},
                    "failureMetadata": told,
                }
            )
        workshop.instance.dispose()
        if run.status != "CANCELED":
            run.status = "SUCCESS" if result.success else "FAILURE"


@contextmanager
def listening(fake: FakeDagster) -> Iterator[str]:
    """Serve; yield the address; end every thread."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            """Answer one question, or break the connection off."""
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            assert self.path == "/graphql"
            if fake.is_away:
                self.close_connection = True
                return
            answer = json.dumps({"data": fake.answer(body["query"], body["variables"])}).encode()
            if fake.loses_answers:
                fake.loses_answers -= 1
                self.close_connection = True
                return
            self.send_response(200)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()
            fake.join()
