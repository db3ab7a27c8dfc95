"""`class_path.py FOLDER`: move the jars of a folder into FOLDER/all, named in order by the manifest of one empty jar.

Spark puts FOLDER/* on the class path, which Java expands in the order in which the disk happens to list it. An archive
of classes is used only with the class path that it was made with, in the same order: of one jar there is one order.
"""

import sys
import zipfile
from pathlib import Path

_LINE = 72  # bytes of a line of a manifest; a longer one goes on after a line break and a space


def main(folder: Path) -> None:
    jars = folder / "all"
    jars.mkdir()
    for jar in folder.glob("*.jar"):
        jar.rename(jars / jar.name)
    names = " ".join(f"{jars.name}/{name}" for name in sorted(jar.name for jar in jars.iterdir()))
    lines = _wrapped(f"Class-Path: {names}")
    with zipfile.ZipFile(folder / "class-path.jar", "w") as archive:
        archive.writestr("META-INF/MANIFEST.MF", f"Manifest-Version: 1.0\r\n{lines}\r\n\r\n")


def _wrapped(header: str) -> str:
    lines = [header[:_LINE]]
    rest = header[_LINE:]
    while rest:
        lines.append(" " + rest[: _LINE - 1])
        rest = rest[_LINE - 1 :]
    return "\r\n".join(lines)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
