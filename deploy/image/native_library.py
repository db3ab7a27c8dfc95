"""`native_library.py JARS LIBRARIES`: move Comet's library for this machine out of its jar into a folder.

Java looks in that folder by itself. From a jar of 99 MB with the libraries of two kinds of machines, each JVM would
unpack one of 145 MB into its /tmp first.
"""

import platform
import sys
import zipfile
from pathlib import Path

_JAVA_CALLS_IT = {"x86_64": "amd64"}
_LIBRARY = "libcomet.so"


def main(jars: Path, libraries: Path) -> None:
    (jar,) = jars.glob("*comet-spark*.jar")
    machine = platform.machine()
    ours = f"org/apache/comet/linux/{_JAVA_CALLS_IT.get(machine, machine)}/{_LIBRARY}"
    kept = jar.with_suffix(".kept")
    with zipfile.ZipFile(jar) as whole, zipfile.ZipFile(kept, "w", zipfile.ZIP_DEFLATED) as rest:
        libraries.mkdir(parents=True)
        (libraries / _LIBRARY).write_bytes(whole.read(ours))
        for entry in whole.infolist():
            if not entry.filename.endswith(f"/{_LIBRARY}"):
                rest.writestr(entry, whole.read(entry))
    kept.replace(jar)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
