"""A catalog behind REST: several tables in one commit where the server has that, and the truth when an answer is lost.

Whoever gets no answer to a commit, or one that says nothing (a 5xx), does not know whether it came through. Then the
tables are looked at: what is there has happened; of what is not, nobody knows, for it may still come.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import requests
from pydantic import Field
from pyiceberg.catalog.rest import _RETRY_ARGS, Endpoint, HttpMethod, RestCatalog
from pyiceberg.catalog.rest.response import _handle_non_200_response
from pyiceberg.exceptions import (
    CommitFailedException,
    CommitStateUnknownException,
    NoSuchTableError,
    ServerError,
    ServiceUnavailableError,
)
from pyiceberg.table import CommitTableRequest, CommitTableResponse, Table
from pyiceberg.table.metadata import TableMetadata
from pyiceberg.table.update import (
    AddSnapshotUpdate,
    RemovePropertiesUpdate,
    RemoveSnapshotsUpdate,
    SetPropertiesUpdate,
    SetSnapshotRefUpdate,
    TableRequirement,
    TableUpdate,
)
from pyiceberg.typedef import UTF8, IcebergBaseModel
from requests.adapters import HTTPAdapter
from tenacity import retry

from resources.iceberg import CatalogUnreachable, Change, CommitUnknown, _in_one_line

_TRANSACTION = "transactions/commit"
_COMMITS_TOGETHER = Endpoint(http_method=HttpMethod.POST, path=f"/v1/{{prefix}}/{_TRANSACTION}")

_TIMEOUT = 10.0, 300.0
"""Seconds to connect, and for an answer: without any, who asks a server that hangs waits for ever."""

_MOST_SHOWN = 300
"""Characters of what a server says: some answer with a page, or with their stack."""

_UNANSWERED = (
    CatalogUnreachable,
    CommitStateUnknownException,
    ServerError,
    ServiceUnavailableError,
    requests.RequestException,
)
"""What a commit raises of which nobody knows whether it came through."""

_WITH_A_NEW_TOKEN: dict[str, Any] = _RETRY_ARGS
"""A request that is refused for its token is sent once more with another, as all of PyIceberg's are."""


class _Transaction(IcebergBaseModel):
    """CommitTransactionRequest of Iceberg's REST specification."""

    table_changes: tuple[CommitTableRequest, ...] = Field(alias="table-changes")


class SharedRestCatalog(RestCatalog):
    """One that commits to several tables at once where the server does, and looks for a commit without an answer."""

    @property
    def commits_together(self) -> bool:
        """Whether the server says that it has the endpoint: one that lists none has it not, by the specification."""
        return _COMMITS_TOGETHER in self._supported_endpoints

    def commit_together(self, changes: Sequence[Change]) -> None:
        """Commit to several tables in one request: all of it, or none, as far as the server keeps to it.

        Raises CommitFailedException, if a requirement does not hold; CommitUnknown, if nobody knows whether all of it
        is in the tables, or if some of it is not although the server said so.
        """
        try:
            self._post(changes)
        except _UNANSWERED as error:
            self._look_for(changes, error)
        else:
            self._look_for(changes, None)

    @retry(**_WITH_A_NEW_TOKEN)
    def _post(self, changes: Sequence[Change]) -> None:
        asked = _Transaction.model_validate({"table-changes": [_asked(each) for each in changes]})
        response = self._session.post(self.url(_TRANSACTION), data=asked.model_dump_json().encode(UTF8))
        try:
            response.raise_for_status()
        except requests.HTTPError as error:
            _handle_non_200_response(error, {404: NoSuchTableError, 409: CommitFailedException})

    def commit_table(
        self, table: Table, requirements: tuple[TableRequirement, ...], updates: tuple[TableUpdate, ...]
    ) -> CommitTableResponse:
        """Raises CommitFailedException, NoSuchTableError, CommitUnknown."""
        try:
            answer: CommitTableResponse = super().commit_table(table, requirements, updates)
            return answer
        except _UNANSWERED as error:
            (found,) = self._look_for([Change(table, updates, requirements)], error)
            known = {"metadata": found.metadata, "metadata-location": found.metadata_location}
            return CommitTableResponse.model_validate(known)

    def _look_for(self, changes: Sequence[Change], error: Exception | None) -> list[Table]:
        """The tables as they are now. Raises CommitUnknown if a change is not in its table."""
        found, lacking = list[Table](), list[str]()
        for change in changes:
            name = ".".join(change.table.name())
            try:
                now = self.load_table(change.table.name())
            except (*_UNANSWERED, NoSuchTableError):
                lacking.append(f"{name} (which could not be looked at)")
                continue
            found.append(now)
            if not _is_in(change, now.metadata):
                lacking.append(name)
        if lacking:
            raise CommitUnknown(
                f"catalog {self.uri}: nobody knows what has become of a commit to {_named(changes)}: expected "
                + ("an answer" if error else "what the catalog said that it has committed")
                + f", found {_in_one_line(error)[:_MOST_SHOWN] if error else 'tables without it'}. Not seen in "
                f"{len(lacking)} of {len(changes)}: {', '.join(lacking)}. "
                + ("It may still come" if error else "Somebody else has changed them since, or the server has lost it")
                + ": look again in a minute. To ask for the same once more is safe: what is done by then is found."
            ) from error
        return found

    def _create_session(self) -> requests.Session:
        session = super()._create_session()
        for scheme in ("http://", "https://"):  # less than the URI that PyIceberg mounts a signer of AWS's on
            session.mount(scheme, _Adapter())
        return session


class _Adapter(HTTPAdapter):
    """Waits for no answer for ever, and says in one line that there is none."""

    def send(self, request: requests.PreparedRequest, *args: Any, **options: Any) -> requests.Response:
        try:
            return super().send(request, *args, **{**options, "timeout": options.get("timeout") or _TIMEOUT})
        except (requests.ConnectionError, requests.Timeout) as error:
            raise CatalogUnreachable(
                f"catalog {request.url}: expected an answer, found: {_in_one_line(error)}. Check "
                "AFFIRM_CATALOG_URI, and that the catalog can be reached from here."
            ) from error


def _asked(change: Change) -> Mapping[str, Any]:
    *namespace, name = change.table.name()
    identifier = {"namespace": namespace, "name": name}
    return {"identifier": identifier, "requirements": change.requirements, "updates": change.updates}


def _named(changes: Sequence[Change]) -> str:
    first = ".".join(changes[0].table.name())
    return first if len(changes) == 1 else f"{len(changes)} tables (such as {first})"


def _is_in(change: Change, now: TableMetadata) -> bool:
    """The updates of one table come all or none: a snapshot that was added tells of the others, too."""
    added = [each.snapshot.snapshot_id for each in change.updates if isinstance(each, AddSnapshotUpdate)]
    if added:
        return all(now.snapshot_by_id(each) for each in added)
    return all(_holds(each, now) for each in change.updates)


def _holds(update: TableUpdate, now: TableMetadata) -> bool:
    if isinstance(update, SetSnapshotRefUpdate):
        ref = now.refs.get(update.ref_name)
        return ref is not None and ref.snapshot_id == update.snapshot_id
    if isinstance(update, SetPropertiesUpdate):
        return all(now.properties.get(name) == value for name, value in update.updates.items())
    if isinstance(update, RemovePropertiesUpdate):
        return not any(name in now.properties for name in update.removals)
    if isinstance(update, RemoveSnapshotsUpdate):
        return not any(now.snapshot_by_id(each) for each in update.snapshot_ids)
    return False  # of another kind, nobody can tell it from the tables
