"""Where landing files lie: a folder of this machine, or a bucket. Both list and open alike; what that means for a day
is the business of `files`."""

import errno
import io
import os
import re
import stat
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn, Protocol

from resources.landing.errors import LandingUnreachable, UnknownLandingFile

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

BUCKETS = "s3://"
PAGE_KEYS = 1000  # the most that S3 lists in one answer

_GONE = {"404", "NoSuchKey", "PreconditionFailed", "412"}
_ATTEMPTS = 5  # dagster-aws's default

_ISO_DATE = re.compile(r"\d{4}-\d{2}-\d{2}")

_TOO_MANY = frozenset({"SlowDown", "Throttling", "ThrottlingException", "RequestLimitExceeded", "ServiceUnavailable"})
"""What S3, and servers like it, answer when there are too many requests."""


class Entry(NamedTuple):
    """What lies in a folder under one name. It is another once anything was written there again."""

    is_file: bool
    size: int  # bytes
    version: object


Found = Mapping[str, Entry] | UnknownLandingFile | None
"""What lies in a folder, by name; why nobody looks into it; None: there is no such folder."""


class Store(Protocol):
    """Names are relative to the store's root, with '/' between folders."""

    def location(self, name: str) -> str:
        """For messages."""

    def entries(self, folder: str) -> Mapping[str, Entry] | None:
        """What lies directly in a folder, by name; None if there is no such folder."""

    def found(self, folder: str) -> Found:
        """The same, or why nobody looks into it: for whoever goes on with other folders."""

    def folders(self, parent: str, after: str = "") -> Iterator[tuple[str, Found]]:
        """The names in a folder that come after `after`, in order, with what lies in each.

        Lazily: what is not taken is not listed.
        """

    def open(self, name: str) -> io.RawIOBase:
        """A seekable stream of one version of the file. Opening and reading raise FileNotFoundError once it is gone."""

    def for_worker(self) -> "Store":
        """The same store for another process, to be pickled. There are no keys in it."""


def store_of(root: str, region: str | None, endpoint: str | None) -> Store:
    """For s3://<bucket>/<prefix> or a folder."""
    if root.startswith(BUCKETS):
        bucket, _, prefix = root.removeprefix(BUCKETS).partition("/")
        return Bucket(bucket, prefix, region, endpoint)
    return Folder(root)


@dataclass(frozen=True)
class Folder:
    root: str

    def location(self, name: str) -> str:
        return str(Path(self.root, name))

    def folders(self, parent: str, after: str = "") -> Iterator[tuple[str, Found]]:
        with suppress(FileNotFoundError), self._reached(parent, "a folder that can be read"):
            names = os.listdir(Path(self.root, parent))  # noqa: PTH208  (a hundred thousand paths cost far more)
            for name in sorted(name for name in names if name > after):
                yield name, self.found(f"{parent}/{name}")

    def entries(self, folder: str) -> Mapping[str, Entry] | None:
        if not Path(self.root, folder).is_dir():
            return None
        self._check_inside(folder)
        found = {}
        # Suppressed: the folder went.
        with suppress(FileNotFoundError), self._reached(folder, "a folder that can be read"):
            for path in Path(self.root, folder).iterdir():
                if path.is_symlink():
                    self._check_inside(f"{folder}/{path.name}")
                with suppress(FileNotFoundError):  # the entry went; a link to nothing is one all the same
                    status = path.stat() if path.exists() else path.lstat()
                    found[path.name] = Entry(stat.S_ISREG(status.st_mode), status.st_size, status.st_mtime_ns)
        return found

    def open(self, name: str) -> io.RawIOBase:
        with self._reached(name, "a file that can be read"):
            return Path(self.root, name).open("rb", buffering=0)

    def for_worker(self) -> Store:
        return self

    @contextmanager
    def _reached(self, name: str, expected: str) -> Iterator[None]:
        try:
            yield
        except FileNotFoundError:
            raise
        except OSError as error:
            raise LandingUnreachable(
                f"landing zone, {self.location(name)!a}", expected, str(error), "Mend it."
            ) from error

    def found(self, folder: str) -> Found:
        try:
            return self.entries(folder)
        except UnknownLandingFile as error:
            return error
        except LandingUnreachable as error:  # of one folder: the others may be read
            return UnknownLandingFile(error.what, error.expected, error.found, error.remedy)

    def _check_inside(self, name: str) -> None:
        """A link to a place outside would let files in that nobody has landed; one to another date, files twice."""
        root, path = Path(self.root).resolve(), Path(self.root, name)
        place = Path(os.path.realpath(path))  # of a link in a loop, too
        if not place.is_relative_to(root):
            self._refuse_link(name, "a link that leads out of it", "Put what it leads to there, and not a link.")
        feed, day, *_ = (*place.relative_to(root).parts, "", "")
        if path.is_symlink() and [feed, day] != name.split("/")[:2] and _ISO_DATE.fullmatch(day):
            self._refuse_link(name, f"a link to {feed}/{day}", "Records of another date count once, there.")

    def _refuse_link(self, name: str, found: str, to_do: str) -> NoReturn:
        what = "files and folders that lie in the landing zone, each in the folder of its date"
        raise UnknownLandingFile(f"landing zone's entry {self.location(name)!a}", what, found, to_do)


Client = Any
"""boto3's S3 client, which has no type: it is made from a description when the program runs."""
MakeClient = Callable[[str | None, str | None], Client]
"""From a region and an endpoint."""


def _dagster_client(region: str | None, endpoint: str | None) -> Client:
    from dagster_aws.s3 import S3Resource

    return S3Resource(region_name=region, endpoint_url=endpoint, max_attempts=_ATTEMPTS).get_client()


def _worker_client(region: str | None, endpoint: str | None) -> Client:
    """The same client as dagster-aws's; a Spark worker would take two seconds to import Dagster for it."""
    import boto3
    from botocore.config import Config

    retries = Config(retries={"max_attempts": _ATTEMPTS, "mode": "standard"})
    return boto3.session.Session().client("s3", region_name=region, endpoint_url=endpoint, config=retries)


@dataclass(frozen=True)
class Bucket:
    """Keys that begin with `prefix` in a bucket of S3, or of another S3 at `endpoint`.

    The process that asks finds the keys to it, or its role, in its own environment.
    """

    name: str
    prefix: str
    region: str | None = None
    endpoint: str | None = None
    make_client: MakeClient = _dagster_client

    @property
    def client(self) -> Client:
        return _client_of(self.make_client, self.region, self.endpoint)

    def location(self, name: str) -> str:
        return f"{BUCKETS}{self.name}/{self.key(name)}"

    def key(self, name: str) -> str:
        return f"{self.prefix}/{name}" if self.prefix else name

    def entries(self, folder: str) -> Mapping[str, Entry] | None:
        prefix = self.key(folder) + "/"
        pages = self.client.get_paginator("list_objects_v2").paginate(
            Bucket=self.name, Prefix=prefix, Delimiter="/", PaginationConfig={"PageSize": PAGE_KEYS}
        )
        found: dict[str, Entry] = {}
        with self._reached(folder, "s3:ListBucket"):
            for page in pages:
                for each in page.get("CommonPrefixes", []):
                    found[each["Prefix"].removeprefix(prefix).rstrip("/")] = Entry(False, 0, None)
                for each in page.get("Contents", []):
                    found[each["Key"].removeprefix(prefix)] = Entry(
                        True, each["Size"], (each["ETag"], each["LastModified"])
                    )
        is_there = bool(found)
        found.pop("", None)  # what some programs write to show an empty folder
        return found if is_there else None

    def found(self, folder: str) -> Found:
        return self.entries(folder)

    def folders(self, parent: str, after: str = "") -> Iterator[tuple[str, Found]]:
        for name, keys in groupby(self._keys(parent, after), lambda each: each[0].partition("/")[0]):
            held: dict[str, Entry] = {}
            is_folder = False
            for key, entry in keys:
                _, slash, rest = key.partition("/")
                is_folder |= bool(slash)
                inner, deeper, _ = rest.partition("/")
                if inner:
                    held[inner] = Entry(False, 0, None) if deeper else entry
            yield name, held if is_folder else None

    def _keys(self, parent: str, after: str) -> Iterator[tuple[str, Entry]]:
        """What lies below `parent`, by the rest of its key, in order. `after`: a folder, of which none is wanted."""
        prefix = self.key(parent) + "/"
        # Keys of a folder begin with its name and '/', which '0' follows.
        start = {"StartAfter": f"{prefix}{after}0"} if after else {}
        pages = self.client.get_paginator("list_objects_v2").paginate(
            Bucket=self.name, Prefix=prefix, PaginationConfig={"PageSize": PAGE_KEYS}, **start
        )
        with self._reached(parent, "s3:ListBucket"):
            for page in pages:
                for each in page.get("Contents", []):
                    if name := each["Key"].removeprefix(prefix):
                        yield name, Entry(True, each["Size"], (each["ETag"], each["LastModified"]))

    def open(self, name: str) -> io.RawIOBase:
        with self._reached(name, "s3:GetObject"):
            head = self.client.head_object(Bucket=self.name, Key=self.key(name))
        return _Object(self, name, head["ContentLength"], head["ETag"])

    def for_worker(self) -> "Bucket":
        return replace(self, make_client=_worker_client)

    def get(self, name: str, version: str, first: int, last: int) -> bytes:
        """Bytes `first` to `last`, both included, of this version (ETag)."""
        from botocore.exceptions import IncompleteReadError, ReadTimeoutError, ResponseStreamingError

        wanted = {"Bucket": self.name, "Key": self.key(name), "Range": f"bytes={first}-{last}", "IfMatch": version}
        with self._reached(name, "s3:GetObject"):
            for _ in range(_ATTEMPTS - 1):
                # boto3 repeats a request, but not the reading of its answer.
                with suppress(IncompleteReadError, ReadTimeoutError, ResponseStreamingError):
                    return self._read(wanted)
            return self._read(wanted)

    def _read(self, wanted: Mapping[str, str]) -> bytes:
        content: bytes = self.client.get_object(**wanted)["Body"].read()
        return content

    def put(self, name: str, content: bytes) -> None:
        with self._reached(name, "s3:PutObject"):
            self.client.put_object(Bucket=self.name, Key=self.key(name), Body=content)

    def delete(self, name: str) -> None:
        with self._reached(name, "s3:DeleteObject"):
            self.client.delete_object(Bucket=self.name, Key=self.key(name))

    @contextmanager
    def _reached(self, name: str, permission: str) -> Iterator[None]:
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            yield
        except ClientError as error:
            code = str(error.response.get("Error", {}).get("Code"))
            if code in _GONE:
                raise FileNotFoundError(errno.ENOENT, "gone, or written again", self.location(name)) from error
            # The code alone: what S3 says beside it may repeat the request with its key.
            raise self._unreachable(name, code, permission) from None
        except BotoCoreError as error:
            raise self._unreachable(name, type(error).__name__, permission) from None

    def _unreachable(self, name: str, found: str, permission: str) -> LandingUnreachable:
        advice = (
            "Check AFFIRM_LANDING, AFFIRM_S3_ENDPOINT and AWS_REGION, the keys or the role of this process, and its "
            f"permission {permission}."
        )
        if found in _TOO_MANY:
            found = f"{found} at each try"
            advice = "S3 asks for fewer requests. A sensor looks again at its next tick; run a step that failed again."
        return LandingUnreachable(
            f"landing zone, {self.location(name)}",
            f"an answer of {self.endpoint or 'S3'} ({self.region})",
            found,
            advice,
        )


@lru_cache(maxsize=8)
def _client_of(make_client: MakeClient, region: str | None, endpoint: str | None) -> Client:
    """One client for a process: making one takes a tenth of a second."""
    return make_client(region, endpoint)


class _Object(io.RawIOBase):
    """Each read is a request of its own, so that a connection that breaks costs no more than that request."""

    def __init__(self, bucket: Bucket, name: str, size: int, version: str) -> None:
        self._bucket, self._name, self._size, self._version = bucket, name, size, version
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        self._position = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._size}[whence] + offset
        return self._position

    def tell(self) -> int:
        return self._position

    def readinto(self, buffer: "WriteableBuffer") -> int:
        wanted = memoryview(buffer).cast("B")
        last = min(self._position + len(wanted), self._size) - 1
        if last < self._position:
            return 0
        content = self._bucket.get(self._name, self._version, self._position, last)
        wanted[: len(content)] = content
        self._position += len(content)
        return len(content)
