"""`fetch_jars.py FOLDER [JAVA OPTION...]`: put the jars that the platform needs beside Spark's into FOLDER.

Spark resolves them by their Maven coordinates, with checksums, as it does on a laptop.
"""

import os
import shutil
import sys
import tempfile
from pathlib import Path

from pyspark.sql import SparkSession

from resources.jars import NATIVE, REMOTE


def main(folder: str, *options: str) -> None:
    os.environ["SPARK_SUBMIT_OPTS"] = " ".join(options)
    with tempfile.TemporaryDirectory() as cache:
        conf = {"spark.master": "local[1]", "spark.ui.enabled": "false", "spark.jars.ivy": cache}
        conf["spark.jars.packages"] = ",".join([*REMOTE, NATIVE])
        SparkSession.builder.config(map=conf).getOrCreate().stop()
        for jar in Path(cache, "jars").iterdir():
            shutil.copy2(jar, folder)


if __name__ == "__main__":
    main(*sys.argv[1:])
