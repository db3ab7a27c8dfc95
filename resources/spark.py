"""The Spark session of a step, on dagster-pyspark: one Spark for the process, one session for each step."""

import logging
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyspark
from dagster_pyspark import LazyPySparkResource
from pyspark.sql import SparkSession

from resources.comet import PREFIX, comet_conf
from resources.compute import Profile
from resources.jars import LOCAL, NATIVE
from resources.pgpass import share_password
from resources.utc import keep_utc

_log = logging.getLogger(__name__)

JAVA_VERSIONS = (17, 21)
"""What Spark 4.1 runs on."""

_INSTALL_JAVA = (
    "Install it: apt install openjdk-17-jre-headless (Debian), dnf install java-21-openjdk-headless (Fedora), "
    "brew install openjdk@21 (macOS); or point JAVA_HOME at it."
)
_KEYS_IN_HADOOP = (
    "fs.s3.awsAccessKeyId",
    "fs.s3.awsSecretAccessKey",
    "fs.s3n.awsAccessKeyId",
    "fs.s3n.awsSecretAccessKey",
    "fs.s3a.access.key",
    "fs.s3a.secret.key",
    "fs.s3a.session.token",
)
_OF_ANOTHER_SPARK = ("SPARK_REMOTE", "SPARK_CONNECT_MODE_ENABLED", "SPARK_API_MODE")
_LOCALE = ("LC_ALL", "LC_CTYPE", "LANG")
"""The first that is set counts: POSIX, 8.2."""
_FORGOTTEN = ("spark.sql.legacy.", "spark.wap.", PREFIX)
"""How the names begin of settings that a user's spark-defaults.conf has no say in: for results as older versions of
Spark gave them, for where Iceberg stages writes, which each step says itself, and for native operators."""
LOCAL_NATIVE_MIB = 1024
"""For native operators, as much as the heap."""
LOGGING = Path(__file__).with_name("log4j2.properties")


class SparkSessions(LazyPySparkResource):
    """Sessions on the process's one Spark, which ends with the process.

    Settings of the whole Spark (memory, jars) are fixed by its first session; those of a catalog belong to a session,
    so that the steps of one process can work on different lakes.
    """

    def open(self, conf: Mapping[str, str], profile: Profile, scan_bytes: int) -> tuple[SparkSession, None]:  # noqa: ARG002
        """A session for a step, whatever its profile: that is for steps in pods."""
        return self.session(conf), None

    def session(self, conf: Mapping[str, str]) -> SparkSession:
        """A new session with these settings of its own; SparkSession.active() gives it to code that is handed none."""
        # Before the first session starts the JVM.
        share_password()
        keep_utc()
        session: SparkSession = self.spark_session.newSession()
        _import_nothing_from_jars()
        _forget_keys(session)
        _forget_settings(session)
        native = {key: value for key, value in self.spark_config.items() if key.startswith(PREFIX)}
        for key, value in {**native, **conf}.items():
            session.conf.set(key, value)
        _skip_checksum_files(session)
        # The public way to make a session the active one, in Python and in the JVM.
        session.createDataFrame([], "nothing INT")
        return session


def _import_nothing_from_jars() -> None:
    """PySpark puts the jars that it fetched on Python's path. There is no Python in them, and to look takes long: 0.2 s
    whenever somebody has imports looked up anew."""
    sys.path[:] = [each for each in sys.path if not each.endswith(".jar")]
    for path in [each for each in sys.path_importer_cache if each.endswith(".jar")]:
        del sys.path_importer_cache[path]


def _forget_keys(session: Any) -> None:
    """Take out of Hadoop's settings the AWS keys that Spark copies into them from the environment.

    Nothing reads them there: tables go through Iceberg's S3FileIO, which looks into the environment itself. But whoever
    can dump the settings would.
    """
    hadoop = session._jvm.org.apache.spark.deploy.SparkHadoopUtil.get().conf()
    for conf in (session._jsc.hadoopConfiguration(), hadoop):
        for name in _KEYS_IN_HADOOP:
            conf.unset(name)


def _forget_settings(session: SparkSession) -> None:
    for key in session.conf.getAll:
        if key.startswith(_FORGOTTEN):
            session.conf.unset(key)


def _skip_checksum_files(session: Any) -> None:
    """Write local files without Hadoop's `.crc` file beside each: Parquet and Avro have checksums of their own.

    Half the time of writing many small files goes into them. The file system is one object for the whole JVM.
    """
    java = session._jvm
    local = java.org.apache.hadoop.fs.FileSystem.get(
        java.java.net.URI.create("file:///"), session._jsc.hadoopConfiguration()
    )
    local.setWriteChecksum(False)
    local.setVerifyChecksum(False)


def local_sessions(memory: str = "1g", packages: Sequence[str] = LOCAL, native: int = 0) -> SparkSessions:
    """Spark inside this process's machine. `memory` is the JVM's heap, `packages` are Maven coordinates of jars.

    native: MiB beside the heap, for native operators; 0: none.
    """
    cores = os.cpu_count() or 1
    return SparkSessions(
        spark_config={
            **common_conf(),
            "spark.master": "local[*]",
            "spark.driver.memory": memory,
            "spark.driver.extraJavaOptions": f"-Dlog4j2.configurationFile={LOGGING.as_uri()}",
            "spark.jars.packages": ",".join([*packages, *([NATIVE] if native else [])]),
            # Spark's default of 200 makes small local shuffles wait for their own bookkeeping.
            "spark.sql.shuffle.partitions": str(4 * cores),
            **(comet_conf(native) if native else {}),
        }
    )


def common_conf() -> dict[str, str]:
    """Wherever Spark runs."""
    _use_our_own_spark()
    # Spark's Python workers are this interpreter, with its packages, and not the first python3 on the path.
    os.environ["PYSPARK_PYTHON"] = sys.executable
    return {
        "spark.app.name": "affirm",
        "spark.sql.extensions": "org.apache.iceberg.spark.extensions.IcebergSparkSessionExtensions",
        "spark.sql.session.timeZone": "UTC",
        "spark.executorEnv.TZ": "UTC",  # as in this process: see utc.py
        # Recording the call site of every column expression costs a third of the time to build a plan.
        "spark.python.sql.dataFrameDebugging.enabled": "false",
        # Each query, and each stage of it, is described in a text that only the UI shows. This is the short one.
        "spark.sql.ui.explainMode": "simple",
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
    }


def _use_our_own_spark() -> None:
    """PySpark starts whichever Spark SPARK_HOME names, which may be another version or a folder that is gone.

    And none, where a variable asks for a Spark on another machine.
    """
    ours = os.environ.get("AFFIRM_SPARK_HOME") or str(Path(pyspark.__file__).parent)  # an image has it elsewhere
    theirs = os.environ.get("SPARK_HOME")
    unused = {"SPARK_HOME": theirs} if theirs and Path(theirs) != Path(ours) else {}
    unused |= {name: os.environ.pop(name) for name in _OF_ANOTHER_SPARK if name in os.environ}
    for name, value in unused.items():
        _log.warning("%s=%s is not used: this project starts its own Spark, %s.", name, value, ours)
    os.environ["SPARK_HOME"] = ours


def locale_problem(conf: Mapping[str, str], environ: Mapping[str, str] = os.environ) -> str | None:
    """One line that says that Java cannot name a file of these settings, and how to mend it; None if it can.

    Java on Linux names files in the letters of the locale, and the locale that is there where none is set has ASCII.
    """
    named = next((f"{name}={environ[name]}" for name in _LOCALE if environ.get(name)), None)
    beyond_ascii = [value for value in conf.values() if not value.isascii()]
    if not beyond_ascii or sys.platform != "linux" or (named and re.search("utf-?8", named, re.IGNORECASE)):
        return None
    found = named or "none"
    return f"expected a locale of UTF-8, since {beyond_ascii[0]} is not ASCII; found {found}. Set LC_ALL=C.UTF-8."


def java_problem(environ: Mapping[str, str] = os.environ) -> str | None:
    """One line that says what is wrong with this machine's Java and how to mend it; None if it will do."""
    home = environ.get("JAVA_HOME")
    java = str(Path(home, "bin", "java")) if home else shutil.which("java", path=environ.get("PATH", os.defpath))
    expected = " or ".join(map(str, JAVA_VERSIONS))
    if java is None or not os.access(java, os.X_OK):
        where = f"JAVA_HOME={home} has none" if home else "none was found"
        return f"Java {expected} is needed, {where}. {_INSTALL_JAVA}"
    printed = subprocess.run([java, "-version"], capture_output=True, text=True, check=False).stderr
    found = re.search(r'version "(?:1\.)?(\d+)', printed)
    if found is None or int(found[1]) not in JAVA_VERSIONS:
        return f"Java {expected} is needed, {java} is {found[1] if found else 'unknown'}. {_INSTALL_JAVA}"
    return None
