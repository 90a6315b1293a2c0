"""What a partition was made from, in the tags by which Dagster tells fresh from stale.

Dagster calls a partition unsynced unless its newest event has, for every asset that it depends on,
a data version and a pointer into the event log: what lies behind the pointer had not been read. It
writes them itself at ``Output``, once for a whole range; here they are written a partition at a
time, with what that partition read (Dagster 1.13.27, ``_core/execution/plan/execute_step.py`` and
``_core/definitions/data_version.py``).
"""

import hashlib
from collections import defaultdict
from collections.abc import Callable, Sequence

import dagster as dg

from assets.stage import Inputs
from market.ports import PartitionKey

DATA_VERSION = "dagster/data_version"
CODE_VERSION = "dagster/code_version"
IS_OURS = "dagster/data_version_is_user_provided"

AssetOf = Callable[[PartitionKey], dg.AssetKey]


class Provenance:
    """The tags of one step's events: one look into the event log a step, however many partitions.

    The pointer is taken before anything is read. What another run publishes meanwhile may have been
    read already and is called new all the same: the error that makes a partition again.
    """

    def __init__(
        self,
        instance: dg.DagsterInstance,
        parents: Sequence[dg.AssetKey],
        code_version: str,
        asset_of: AssetOf,
    ) -> None:
        self._instance, self._parents, self._asset_of = instance, tuple(parents), asset_of
        self._code_version = code_version
        self._pointer = self._newest()

    def tags(self, version: str, code_version: str, inputs: Inputs) -> dict[str, str]:
        """Return the tags of a partition that was made from ``inputs``."""
        read: dict[dg.AssetKey, list[str]] = defaultdict(list)
        refs = [ref for refs in inputs.rows.values() for ref in refs] + list(inputs.states.values())
        for ref in sorted(refs, key=lambda ref: ref.key):
            read[self._asset_of(ref.key)].append(ref.version)
        found = {DATA_VERSION: version, CODE_VERSION: code_version, IS_OURS: "true"}
        for parent in self._parents:
            found[f"dagster/input_data_version/{parent.to_user_string()}"] = _joined(read[parent])
            found[_pointer_tag(parent)] = self._pointer
        return found

    def nothing(self, version: str) -> dict[str, str]:
        """Return the tags of a partition of which there is nothing to make."""
        return self.tags(version, self._code_version, Inputs())

    def of_own_months(self, asset_key: dg.AssetKey) -> dict[str, str]:
        """Return the tag that says: the months before were made in this very step.

        For the events after ``Output`` of an asset that depends on itself; ask before ``Output``,
        behind which the automatic events stamp the range with another version.
        """
        return {_pointer_tag(asset_key): self._newest()} if asset_key in self._parents else {}

    def _newest(self) -> str:
        return str(self._instance.event_log_storage.get_maximum_record_id() or "NULL")


def _pointer_tag(parent: dg.AssetKey) -> str:
    return f"dagster/input_event_pointer/{parent.to_user_string()}"


def _joined(versions: Sequence[str]) -> str:
    """Return one version for many, as Dagster joins those of an upstream asset's partitions."""
    return hashlib.sha256("".join(versions).encode()).hexdigest()
