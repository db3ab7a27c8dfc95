"""What goes into the image: its entrypoint, and the class path that its archive of classes depends on."""

import importlib.util
import os
import subprocess
import zipfile
from pathlib import Path
from typing import Any

import pytest

IMAGE = Path(__file__).parents[2] / "deploy" / "image"

EXECUTOR = {
    "SPARK_DRIVER_URL": "spark://CoarseGrainedScheduler@10.0.0.1:7078",
    "SPARK_EXECUTOR_ID": "3",
    "SPARK_EXECUTOR_CORES": "2",
    "SPARK_EXECUTOR_MEMORY": "1024m",
    "SPARK_APPLICATION_ID": "spark-1",
    "SPARK_EXECUTOR_POD_IP": "10.0.0.2",
    "SPARK_EXECUTOR_POD_NAME": "exec-3",
    "SPARK_RESOURCE_PROFILE_ID": "0",
    "SPARK_HOME": "/opt/spark",
    "SPARK_SUBMIT_OPTS": "-XX:SharedArchiveFile=/opt/classes.jsa",
}
"""What Spark sets in the pods it asks for, and the image itself."""


@pytest.fixture
def java_home(tmp_path: Path) -> Path:
    """A Java that prints its arguments, one a line, and complains of nothing in particular."""
    java = tmp_path / "java" / "bin" / "java"
    java.parent.mkdir(parents=True)
    java.write_text('#!/bin/bash\nprintf "%s\\n" "$@"\necho a warning >&2\n')
    java.chmod(0o755)
    return java.parents[1]


def start(java_home: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [IMAGE / "entrypoint", *arguments],
        env={"PATH": os.environ["PATH"], "JAVA_HOME": str(java_home), **EXECUTOR, **environment},
        capture_output=True,
        text=True,
        check=True,
    )


def test_an_executor_is_started_with_what_spark_says(java_home: Path) -> None:
    options = {f"SPARK_JAVA_OPT_{n}": f"-Dn={n} and a space" for n in range(11)}
    printed = start(java_home, "executor", **options).stdout.splitlines()
    assert printed == [
        "-XX:SharedArchiveFile=/opt/classes.jsa",
        *options.values(),
        "-Xms1024m",
        "-Xmx1024m",
        "-cp",
        "/opt/spark/jars/*",
        "org.apache.spark.scheduler.cluster.k8s.KubernetesExecutorBackend",
        *("--driver-url", EXECUTOR["SPARK_DRIVER_URL"]),
        *("--executor-id", "3"),
        *("--cores", "2"),
        *("--app-id", "spark-1"),
        *("--hostname", "10.0.0.2"),
        *("--resourceProfileId", "0"),
        *("--podName", "exec-3"),
    ]


def test_what_an_executor_prints_goes_into_the_files_that_are_shipped(java_home: Path, tmp_path: Path) -> None:
    files = tmp_path / "logs" / "run" / "exec-3"
    done = start(java_home, "executor", AFFIRM_LOG_FILES=str(files))
    assert (done.stdout, done.stderr) == ("", "")
    assert "KubernetesExecutorBackend" in files.with_suffix(".out").read_text()
    assert files.with_suffix(".err").read_text() == "a warning\n"


def test_anything_else_is_a_command(java_home: Path) -> None:
    assert start(java_home, "echo", "two words", "executor").stdout == "two words executor\n"


def program(name: str) -> Any:
    """One of the image's, as a module."""
    spec = importlib.util.spec_from_file_location(name, IMAGE / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(("machine", "library"), [("x86_64", b"amd64"), ("aarch64", b"aarch64")])
def test_the_native_library_of_this_machine_is_taken_out_of_its_jar(
    machine: str, library: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("platform.machine", lambda: machine)
    jar, libraries = tmp_path / "org.apache.datafusion_comet-spark-1.jar", tmp_path / "usr" / "lib"
    with zipfile.ZipFile(jar, "w") as archive:
        archive.writestr("org/apache/comet/Native.class", b"a class")
        for kind in ("amd64", "aarch64"):
            archive.writestr(f"org/apache/comet/linux/{kind}/libcomet.so", kind)
    program("native_library").main(tmp_path, libraries)
    assert (libraries / "libcomet.so").read_bytes() == library
    with zipfile.ZipFile(jar) as archive:
        assert archive.namelist() == ["org/apache/comet/Native.class"]
        assert archive.read("org/apache/comet/Native.class") == b"a class"
    assert [each.name for each in tmp_path.iterdir() if each.is_file()] == [jar.name]


def test_the_class_path_is_one_jar_that_names_the_others_in_order(tmp_path: Path) -> None:
    names = [f"{letter * 30}-1.0.jar" for letter in "cab"]
    for name in names:
        (tmp_path / name).touch()
    program("class_path").main(tmp_path)
    assert [path.name for path in tmp_path.glob("*.jar")] == ["class-path.jar"]
    manifest = zipfile.ZipFile(tmp_path / "class-path.jar").read("META-INF/MANIFEST.MF")
    assert max(len(line) for line in manifest.split(b"\r\n")) == 72
    listed = manifest.replace(b"\r\n ", b"").decode().splitlines()[1]
    assert listed == "Class-Path: " + " ".join(f"all/{name}" for name in sorted(names))
    assert all((tmp_path / "all" / name).exists() for name in names)
