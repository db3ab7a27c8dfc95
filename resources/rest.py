"""A catalog behind REST: several tables in one commit where the server has that, and the truth when an answer is lost.

Whoever gets no answer to a commit, or one that says neither yes nor no (a 5xx, say), does not know whether it came
through. Then the tables are looked at: a change that is there has happened. Of one that is not there nobody knows: it
may come later.
"""

import time
from collections.abc import Mapping, Sequence
from typing import Any, Self

import requests
from pydantic import Field
from pyiceberg.catalog.rest import _RETRY_ARGS, Endpoint, HttpMethod, RestCatalog
from pyiceberg.catalog.rest.response import _handle_non_200_response
from pyiceberg.exceptions import (
    BadRequestError,
    CommitFailedException,
    ForbiddenError,
    NoSuchTableError,
    RESTError,
    UnauthorizedError,
)
from pyiceberg.table import CommitTableRequest, CommitTableResponse, Table
from pyiceberg.table.metadata import TableMetadata
from pyiceberg.table.refs import MAIN_BRANCH
from pyiceberg.table.update import (
    AddSnapshotUpdate,
    RemovePropertiesUpdate,
    RemoveSnapshotsUpdate,
    SetPropertiesUpdate,
    SetSnapshotRefUpdate,
    TableRequirement,
    TableUpdate,
)
from pyiceberg.typedef import UTF8, IcebergBaseModel, Identifier
from requests.adapters import HTTPAdapter
from tenacity import retry, retry_if_exception_type, stop_after_attempt, wait_random_exponential
from urllib3.util import Retry

from resources.iceberg import CatalogError, CatalogUnreachable, Change, CommitUnknown, _in_one_line

_TRANSACTION = "transactions/commit"
_COMMITS_TOGETHER = Endpoint(http_method=HttpMethod.POST, path=f"/v1/{{prefix}}/{_TRANSACTION}")

_NESSIE = "nessie.is-nessie-catalog"
"""The property of its configuration by which Nessie says what it is."""

_TIMEOUT = 10.0, 300.0
"""Seconds to connect, and between two parts of an answer: PyIceberg itself would wait without end."""

_READS_AGAIN = Retry(connect=2, read=2, other=0, redirect=0, status=0, allowed_methods={"GET", "HEAD"})
"""A balancer forgets a connection that was idle for long: what only reads is asked again. A commit is not."""

_MOST_SHOWN = 500
"""Characters of what a server says: some answer with a page, or with their stack."""

_LOOKS, _BETWEEN_LOOKS = 3, 1.0
"""How often a table is looked at that cannot be read, and the seconds between."""

_REFUSED = CommitFailedException, NoSuchTableError, BadRequestError, UnauthorizedError, ForbiddenError
"""What a commit raises that was certainly not made. After all else nobody knows."""

_SENT_AGAIN: dict[str, Any] = _RETRY_ARGS
"""As PyIceberg sends each request once more whose sign-in has ended meanwhile."""


class _Transaction(IcebergBaseModel):
    """CommitTransactionRequest of Iceberg's REST specification."""

    table_changes: tuple[CommitTableRequest, ...] = Field(alias="table-changes")


class SharedRestCatalog(RestCatalog):
    """One that commits to several tables at once where the server does, and finds out what a commit has come to."""

    @classmethod
    def reached(cls, name: str, **properties: str) -> Self:
        """Raises CatalogUnreachable; CatalogError for Nessie, which does not keep the branches of tables."""
        try:
            catalog = cls(name, **properties)
        except (RESTError, requests.RequestException, ValueError) as error:
            raise _unreachable(properties["uri"], error) from error
        if catalog.properties.get(_NESSIE) == "true":
            raise CatalogError(
                f"catalog {properties['uri']}: expected a server that keeps branches, tags and snapshots of tables, "
                "found Nessie, which keeps the newest snapshot alone: readers would see what an audit has refused. "
                "Use another one."
            )
        return catalog

    @property
    def commits_together(self) -> bool:
        """Whether the server lists the endpoint.

        By the specification, one that lists no endpoints has it too. PyIceberg takes it for one that has not, and so is
        it taken here.
        """
        return _COMMITS_TOGETHER in self._supported_endpoints

    def load_table(self, identifier: str | Identifier) -> Table:
        """Raises NoSuchTableError, CatalogUnreachable."""
        try:
            table: Table = super().load_table(identifier)
            return table
        except (RESTError, requests.RequestException, ValueError) as error:
            raise _unreachable(self.uri, error) from error

    def commit_together(self, changes: Sequence[Change]) -> None:
        """Commit to several tables in one request: all of it, or none, if the server keeps to that.

        What a server has lost although it said yes is committed again, table by table. Raises CommitFailedException, if
        a requirement does not hold; CommitUnknown, if nobody knows whether a change is in its table.
        """
        try:
            self._post(changes)
        except _REFUSED:
            raise
        except Exception as error:
            _check_was_sent(error)
            self._look_for(changes, error)
            return
        lost = [each for each in changes if not self._seen(each, was_promised=True)]
        for each in lost:
            try:
                self._commit_again(each)
            except CommitFailedException as error:
                raise CommitUnknown(
                    f"catalog {self.uri}: expected a commit to {_named(changes)}, as the server said that it has made; "
                    f"found {', '.join(map(_name, lost))} without it, and changed by somebody else since. The server "
                    "does not keep to commits to several tables: use another one. What was asked for is done in part."
                ) from error

    @retry(
        retry=retry_if_exception_type(CommitFailedException),
        stop=stop_after_attempt(10),
        wait=wait_random_exponential(0.05, 1.0),
        reraise=True,
    )
    def _commit_again(self, change: Change) -> None:
        """A server says of a commit that came at the same moment what it says of a requirement that does not hold."""
        self.commit_table(change.table, change.requirements, change.updates)

    @retry(**_SENT_AGAIN)
    def _post(self, changes: Sequence[Change]) -> None:
        asked = _Transaction.model_validate({"table-changes": [_asked(each) for each in changes]})
        data = asked.model_dump_json().encode(UTF8)
        response = self._session.post(self.url(_TRANSACTION), data=data, allow_redirects=False)
        if 300 <= response.status_code < 400:  # followed, it would be a GET
            raise RESTError(
                f"{response.status_code}: it is elsewhere, at {response.headers.get('Location', 'no place')}"
            )
        try:
            response.raise_for_status()
        except requests.HTTPError as error:
            _handle_non_200_response(error, {404: NoSuchTableError, 409: CommitFailedException})

    def commit_table(
        self, table: Table, requirements: tuple[TableRequirement, ...], updates: tuple[TableUpdate, ...]
    ) -> CommitTableResponse:
        """Raises CommitFailedException, NoSuchTableError and others if nothing was committed; CommitUnknown, also if
        the server has not set the branches and tags that were asked for."""
        try:
            answer: CommitTableResponse = super().commit_table(table, requirements, updates)
        except _REFUSED:
            raise
        except Exception as error:
            _check_was_sent(error)
            (found,) = self._look_for([Change(table, updates, requirements)], error)
            known = {"metadata": found.metadata, "metadata-location": found.metadata_location}
            answer = CommitTableResponse.model_validate(known)
        self._check_refs(".".join(table.name()), updates, answer.metadata)
        return answer

    def _check_refs(self, name: str, updates: Sequence[TableUpdate], now: TableMetadata) -> None:
        asked = {each.ref_name for each in updates if isinstance(each, SetSnapshotRefUpdate)}
        added = {each.snapshot.snapshot_id for each in updates if isinstance(each, AddSnapshotUpdate)}
        wrong = [f"no {each}" for each in sorted(asked - now.refs.keys())]
        if MAIN_BRANCH not in asked and now.current_snapshot_id in added:
            wrong.append(f"{MAIN_BRANCH} at a snapshot that was not for it: its readers see that one now")
        if wrong:
            raise CommitUnknown(
                f"catalog {self.uri}: expected {name} with the branches and tags that a commit has set, and no others "
                f"moved; found {', '.join(wrong)}. The server does not keep the branches of tables. Use another one."
            )

    def _look_for(self, changes: Sequence[Change], error: Exception) -> list[Table]:
        """The tables as they are now. Raises CommitUnknown if a change is not seen in its table."""
        found, lacking = list[Table](), list[str]()
        for change in changes:
            now = self._seen(change)
            if now:
                found.append(now)
            else:
                lacking.append(_name(change))
        if lacking:
            raise CommitUnknown(
                f"catalog {self.uri}: nobody knows what has become of a commit to {_named(changes)}: expected an "
                f"answer, found {type(error).__name__}: {_in_one_line(error)[:_MOST_SHOWN]}. Not seen in "
                f"{len(lacking)} of {len(changes)}: {', '.join(lacking)}. It may come later: look again in a minute. "
                "To ask for the same once more is safe: what is done by then is found."
            ) from error
        return found

    def _seen(self, change: Change, *, was_promised: bool = False) -> Table | None:
        """The table, if the change is in it. `was_promised`: the server said so, which is believed if nobody can tell.

        Raises CommitUnknown for a table that cannot be read.
        """
        for number in range(_LOOKS):
            if number:
                time.sleep(_BETWEEN_LOOKS)
            try:
                now = self.load_table(change.table.name())
            except NoSuchTableError:
                return None
            except Exception as error:
                failed = error
                continue
            return now if _is_in(change, now.metadata, was_promised) else None
        said = "The server said that it has made it. " if was_promised else ""
        raise CommitUnknown(
            f"catalog {self.uri}: nobody knows what has become of a commit to {_name(change)}: expected to read the "
            f"table after it, found {type(failed).__name__}: {_in_one_line(failed)[:_MOST_SHOWN]}. {said}Look at the "
            "table before you ask for the same once more."
        ) from failed

    def _create_session(self) -> requests.Session:
        session = super()._create_session()
        for scheme in ("http://", "https://"):  # a signer of AWS's is mounted on a longer one, and goes first
            session.mount(scheme, _Adapter(max_retries=_READS_AGAIN))
        return session


class _Adapter(HTTPAdapter):
    """With a limit to the wait for an answer; where there is none, one line says so."""

    def send(self, request: requests.PreparedRequest, *args: Any, **options: Any) -> requests.Response:
        try:
            return super().send(request, *args, **{**options, "timeout": options.get("timeout") or _TIMEOUT})
        except (requests.ConnectionError, requests.Timeout) as error:
            raise _unreachable(str(request.url), error) from error


def _unreachable(where: str, error: Exception) -> CatalogUnreachable:
    if isinstance(error, CatalogUnreachable):
        return error
    found = f"{type(error).__name__}: {_in_one_line(error)[:_MOST_SHOWN]}"
    return CatalogUnreachable(
        f"catalog {where}: expected an answer, found {found}. Check AFFIRM_CATALOG_URI, and that the catalog can be "
        "reached from here."
    )


def _check_was_sent(error: Exception) -> None:
    """Raises what PyIceberg says before it has sent anything: that the server does not have the endpoint.

    By the same class it tells of an answer of 501, which a gateway may give to what has been done.
    """
    if isinstance(error, NotImplementedError) and not isinstance(error.__cause__, requests.HTTPError):
        raise error


def _asked(change: Change) -> Mapping[str, Any]:
    *namespace, name = change.table.name()
    identifier = {"namespace": namespace, "name": name}
    return {"identifier": identifier, "requirements": change.requirements, "updates": change.updates}


def _name(change: Change) -> str:
    return ".".join(change.table.name())


def _named(changes: Sequence[Change]) -> str:
    first = _name(changes[0])
    return first if len(changes) == 1 else f"{len(changes)} tables (such as {first})"


def _is_in(change: Change, now: TableMetadata, was_promised: bool) -> bool:
    """Whether the table has it. The updates of one table come all or none, so a snapshot tells of the others, too.

    What was promised may be the past already: others have gone on from a branch that is elsewhere than it was.
    """
    added = [each.snapshot.snapshot_id for each in change.updates if isinstance(each, AddSnapshotUpdate)]
    if added:
        return all(now.snapshot_by_id(each) for each in added)
    if was_promised and any(_has_gone_on(each, change.table.metadata, now) for each in change.updates):
        return True
    holds = (_holds(each, now) for each in change.updates)
    return all(was_promised if each is None else each for each in holds)


def _has_gone_on(update: TableUpdate, before: TableMetadata, now: TableMetadata) -> bool:
    """Whether a branch has been set, and then moved."""
    if not isinstance(update, SetSnapshotRefUpdate) or update.ref_name not in now.refs:
        return False
    at: int | None = now.refs[update.ref_name].snapshot_id
    was = before.refs.get(update.ref_name)
    if at == update.snapshot_id or (was is not None and at == was.snapshot_id):
        return False
    while at is not None and at != update.snapshot_id:
        snapshot = now.snapshot_by_id(at)
        at = snapshot.parent_snapshot_id if snapshot else None
    return at is not None


def _holds(update: TableUpdate, now: TableMetadata) -> bool | None:
    """None: of an update of another kind, nobody can tell it from the table."""
    if isinstance(update, SetSnapshotRefUpdate):
        ref = now.refs.get(update.ref_name)
        return ref is not None and ref.snapshot_id == update.snapshot_id
    if isinstance(update, SetPropertiesUpdate):
        return all(now.properties.get(name) == value for name, value in update.updates.items())
    if isinstance(update, RemovePropertiesUpdate):
        return not any(name in now.properties for name in update.removals)
    if isinstance(update, RemoveSnapshotsUpdate):
        return not any(now.snapshot_by_id(each) for each in update.snapshot_ids)
    return None
