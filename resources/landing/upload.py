"""Landing files of a folder -> a bucket, as a sender lands them: the mark of a complete day goes first, comes last."""

from pathlib import Path

from resources.landing.files import SUCCESS
from resources.landing.stores import Bucket


def upload(folder: Path, bucket: Bucket) -> None:
    """Copy days of files, `<feed>/<YYYY-MM-DD>/…`, in place of what lies in the same days of the bucket.

    Files of the root go first, over the bucket's.

    Raises:
        LandingUnreachable: The bucket does not answer, or refuses this process.
    """
    for file in sorted(path for path in folder.iterdir() if path.is_file()):
        bucket.put(file.name, file.read_bytes())
    for day in sorted(path for path in folder.glob("*/*") if path.is_dir()):
        name = day.relative_to(folder).as_posix()
        for stale in sorted(bucket.entries(name) or {}, key=lambda each: each != SUCCESS):
            bucket.delete(f"{name}/{stale}")
        for path in sorted(day.iterdir(), key=lambda path: path.name == SUCCESS):
            bucket.put(f"{name}/{path.name}", path.read_bytes())
