"""Ships the log files of a pod's other container to S3: in parts while it runs, for good once it has ended.

Run as `python -m resources.kubernetes.ship` by the container of `resources.kubernetes.logs`.
"""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

from resources.kubernetes.logs import VARIABLE, LogStore

_SECONDS = 15.0
"""Between two uploads: what is lost when a whole node dies."""

Upload = Callable[[Path, str], None]


class Shipper:
    """`upload(file, key)` puts one file. Dagster removes what it has uploaded itself: nothing is left then."""

    def __init__(self, store: LogStore, upload: Upload) -> None:
        self._store = store
        self._upload = upload
        self._shipped: dict[Path, int] = {}

    def ship_parts(self) -> None:
        """What has grown since the last time, under the keys that Dagster's UI reads until a log is complete."""
        for file, size in self._files():
            if size and size != self._shipped.get(file):
                self._upload(file, f"{self._key(file)}.partial")
                self._shipped[file] = size

    def ship_all(self) -> None:
        """Every file that is left, also the empty ones: .err is what tells the UI that a log is complete."""
        for file, _ in self._files():
            self._upload(file, self._key(file))

    def _files(self) -> Iterator[tuple[Path, int]]:
        for file in sorted(Path(self._store.folder).glob("*/compute_logs/*")):
            if file.suffix in (".out", ".err"):
                try:
                    yield file, file.stat().st_size
                except FileNotFoundError:  # Dagster has just uploaded and removed it
                    continue

    def _key(self, file: Path) -> str:
        return self._store.key(file.relative_to(self._store.folder).as_posix())


def s3_upload(store: LogStore) -> Upload:
    import boto3
    from boto3.s3.transfer import TransferConfig

    client = boto3.client("s3", endpoint_url=store.endpoint, region_name=store.region)
    # A part of a large file at a time: the container has little memory.
    parts = TransferConfig(use_threads=False)

    def upload(file: Path, key: str) -> None:
        with suppress(FileNotFoundError):
            client.upload_file(str(file), store.bucket, key, ExtraArgs={"ContentType": "text/plain"}, Config=parts)

    return upload


def main() -> None:
    ended = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: ended.set())
    store = LogStore.parse(os.environ[VARIABLE])
    shipper = Shipper(store, s3_upload(store))
    while not ended.wait(_SECONDS):
        try:
            shipper.ship_parts()
        except Exception as error:  # the next time, or the last one, may reach S3 again
            print(f"logs not shipped, to be tried again: {error}", flush=True)
    while True:  # until Kubernetes kills this container, at the end of the pod's grace period
        try:
            shipper.ship_all()
            return
        except Exception as error:
            print(f"logs not shipped, to be tried again: {error}", flush=True)
            time.sleep(1)


if __name__ == "__main__":
    main()
