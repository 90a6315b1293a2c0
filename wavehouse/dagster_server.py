"""A Dagster server as a client sees it: runs launched, followed and ended over GraphQL.

Belongs here: what is sent and what is understood of the answers (dagster-graphql 1.13; a test holds
every document against its schema). Keep out: what a job does with it (``server_engine``).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import httpx2

from market.errors import WavehouseError
from orchestration.runs import CODE_LOCATION

REPOSITORY: Final = "__repository__"
"""The name that Dagster gives to the definitions of a code location."""
JOB: Final = "backfill"
PAGE: Final = 500
"""Events that are asked for at a time."""
TIMEOUT_S: Final = 30.0

WAITING: Final = ("QUEUED", "NOT_STARTED")
"""Runs that no process has yet: whatever is killed, they are begun once a daemon is there."""
UNFINISHED: Final = (*WAITING, "STARTING", "STARTED", "CANCELING")

ADD_PARTITION: Final = """
mutation Add($repository: RepositorySelector!, $definition: String!, $key: String!) {
  addDynamicPartition(
    repositorySelector: $repository, partitionsDefName: $definition, partitionKey: $key
  ) {
    __typename
    ... on UnauthorizedError { message }
    ... on PythonError { message }
  }
}
"""
LAUNCH: Final = """
mutation Launch($params: ExecutionParams!) {
  launchRun(executionParams: $params) {
    __typename
    ... on LaunchRunSuccess { run { runId } }
    ... on PipelineNotFoundError { message }
    ... on RunConfigValidationInvalid { errors { message } }
    ... on UnauthorizedError { message }
    ... on PythonError { message }
  }
}
"""
RUNS: Final = """
query Runs($filter: RunsFilter!) {
  runsOrError(filter: $filter, limit: 100) {
    __typename
    ... on Runs { results { runId } }
    ... on PythonError { message }
  }
}
"""
FOLLOW: Final = """
query Follow($runId: ID!, $after: String, $limit: Int!) {
  runOrError(runId: $runId) {
    __typename
    ... on Run { status }
    ... on PythonError { message }
  }
  logsForRun(runId: $runId, afterCursor: $after, limit: $limit) {
    __typename
    ... on EventConnection {
      cursor
      hasMore
      events {
        __typename
        ... on MaterializationEvent { partition assetKey { path } }
        ... on ExecutionStepFailureEvent {
          stepKey
          error { message }
          failureMetadata {
            description
            metadataEntries { label ... on TextMetadataEntry { text } }
          }
        }
      }
    }
    ... on PythonError { message }
  }
}
"""
TERMINATE: Final = """
mutation Terminate($runId: String!, $policy: TerminateRunPolicy!) {
  terminateRun(runId: $runId, terminatePolicy: $policy) {
    __typename
    ... on TerminateRunFailure { message }
    ... on UnauthorizedError { message }
    ... on PythonError { message }
  }
}
"""


class DagsterRefusedError(WavehouseError):
    """The Dagster server has answered, and not with what was asked for."""

    code = "DAGSTER_REFUSED"


class DagsterUnavailableError(WavehouseError):
    """The Dagster server does not answer, or its run says nothing more: a retry may help."""

    code = "DAGSTER_UNAVAILABLE"


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a step failed, and the code of the error behind it ("" if none)."""

    message: str
    cause: str


@dataclass(frozen=True, slots=True)
class Followed:
    """What a run has said since it was last asked, and how it stands."""

    status: str
    cursor: str
    has_more: bool
    materialized: Sequence[tuple[tuple[str, ...], str]]  # asset's path, partition
    failures: Sequence[Failure]


class DagsterServer:
    """A client of one Dagster webserver; ``transport`` is for tests."""

    def __init__(self, url: str, transport: httpx2.BaseTransport | None = None) -> None:
        self._http = httpx2.Client(base_url=url, timeout=TIMEOUT_S, transport=transport)

    def close(self) -> None:
        """Close its connections."""
        self._http.close()

    def add_partition(self, definition: str, key: str) -> None:
        """Make a dynamic partition known; one that is known already is fine."""
        repository = {"repositoryName": REPOSITORY, "repositoryLocationName": CODE_LOCATION}
        answer = self._ask(
            ADD_PARTITION, {"repository": repository, "definition": definition, "key": key}
        )["addDynamicPartition"]
        known = ("AddDynamicPartitionSuccess", "DuplicateDynamicPartitionError")
        _expect(answer, *known)

    def launch(self, paths: Sequence[Sequence[str]], tags: Mapping[str, str]) -> str:
        """Launch a run of these assets; return its id."""
        params = {
            "selector": {
                "repositoryName": REPOSITORY,
                "repositoryLocationName": CODE_LOCATION,
                "jobName": JOB,
                "assetSelection": [{"path": list(path)} for path in paths],
            },
            "runConfigData": {},
            "mode": "default",
            "executionMetadata": {"tags": [{"key": k, "value": v} for k, v in tags.items()]},
        }
        answer = self._ask(LAUNCH, {"params": params})["launchRun"]
        _expect(answer, "LaunchRunSuccess")
        return str(answer["run"]["runId"])

    def unfinished(self, tag: str, value: str) -> list[str]:
        """Return the runs with a tag that have not ended."""
        wanted = {"tags": [{"key": tag, "value": value}], "statuses": list(UNFINISHED)}
        answer = self._ask(RUNS, {"filter": wanted})["runsOrError"]
        _expect(answer, "Runs")
        return [str(run["runId"]) for run in answer["results"]]

    def follow(self, run_id: str, cursor: str) -> Followed:
        """Return what a run has said behind ``cursor`` ("" for all)."""
        answer = self._ask(FOLLOW, {"runId": run_id, "after": cursor or None, "limit": PAGE})
        run, log = answer["runOrError"], answer["logsForRun"]
        _expect(run, "Run")
        _expect(log, "EventConnection")
        events = log["events"]
        return Followed(
            status=run["status"],
            cursor=log["cursor"],
            has_more=log["hasMore"],
            materialized=[
                (tuple(e["assetKey"]["path"]), e["partition"])
                for e in events
                if e["__typename"] == "MaterializationEvent" and e["partition"]
            ],
            failures=[
                _failure(e) for e in events if e["__typename"] == "ExecutionStepFailureEvent"
            ],
        )

    def end(self, run_id: str, *, at_once: bool) -> None:
        """Interrupt a run; ``at_once``: call it cancelled whether its process hears it or not."""
        policy = "MARK_AS_CANCELED_IMMEDIATELY" if at_once else "SAFE_TERMINATE"
        answer = self._ask(TERMINATE, {"runId": run_id, "policy": policy})["terminateRun"]
        # one that has ended meanwhile cannot be ended
        _expect(answer, "TerminateRunSuccess", "TerminateRunFailure")

    def _ask(self, document: str, variables: Mapping[str, Any]) -> dict[str, Any]:
        body = {"query": document, "variables": dict(variables)}
        try:
            response = self._http.post("/graphql", json=body)
            answer = response.json()
        except (httpx2.HTTPError, ValueError) as e:
            raise DagsterUnavailableError(
                f"Dagster server: expected an answer, was {type(e).__name__}: {e}"
            ) from e
        if not isinstance(answer, dict) or answer.get("errors") or not answer.get("data"):
            raise DagsterRefusedError(f"Dagster server: expected data, was {str(answer)[:1000]}")
        data: dict[str, Any] = answer["data"]
        return data


def _expect(answer: Mapping[str, Any], *kinds: str) -> None:
    kind = answer["__typename"]
    if kind not in kinds:
        errors = [str(e["message"]) for e in answer.get("errors", ())]
        why = answer.get("message") or "; ".join(errors) or "no more was said"
        raise DagsterRefusedError(f"Dagster server: expected {kinds[0]}, was {kind}: {why[:1000]}")


def _failure(event: Mapping[str, Any]) -> Failure:
    told = event["failureMetadata"]
    if told is not None and told["description"]:
        codes = [e.get("text", "") for e in told["metadataEntries"] if e["label"] == "code"]
        return Failure(told["description"], codes[0] if codes else "")
    message = (event["error"] or {}).get("message", "no more was said")
    return Failure(f"{event['stepKey']}: {message.strip()}", "")
