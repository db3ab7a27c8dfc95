"""What is said of a machine's Java: nothing if Spark runs on it, or one line that says how to get another."""

import re
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from resources.spark import JAVA_VERSIONS, java_problem, locale_problem

Install = Callable[[str, str], Path]


@pytest.fixture
def install(tmp_path: Path) -> Install:
    """A `java` in <folder>/bin that prints this as its version; the folder."""

    def install(folder: str, printed: str) -> Path:
        java = tmp_path / folder / "bin" / "java"
        java.parent.mkdir(parents=True)
        java.write_text(f"#!/bin/sh\n[ \"$1\" = -version ] && echo '{printed}' >&2\n")
        java.chmod(0o755)
        return tmp_path / folder

    return install


def openjdk(version: str) -> str:
    return f'openjdk version "{version}" 2025-01-21 LTS\nOpenJDK Runtime Environment (build {version}+10-LTS)'


def on_path(home: Path) -> dict[str, str]:
    return {"PATH": f"/nowhere:{home / 'bin'}"}


def assert_says_how_to_mend_it(problem: str | None) -> None:
    assert problem is not None
    assert problem.splitlines() == [problem]
    packages = [
        r"apt install openjdk-(\d+)-jre-headless \(Debian\)",
        r"dnf install java-(\d+)-openjdk-headless \(Fedora\)",
        r"brew install openjdk@(\d+) \(macOS\)",
    ]
    for package in packages:
        named = re.search(package, problem)
        assert named is not None, f"{package} is not in: {problem}"
        assert int(named[1]) in JAVA_VERSIONS


@pytest.mark.parametrize("version", ["17.0.14", "21.0.6", "21"])
def test_none_if_spark_runs_on_it(install: Install, version: str) -> None:
    assert java_problem(on_path(install("jdk", openjdk(version)))) is None


@pytest.mark.parametrize(("version", "found"), [("25.0.1", "25"), ("11.0.26", "11"), ("25-ea", "25")])
def test_version_that_spark_does_not_run_on(install: Install, version: str, found: str) -> None:
    home = install("jdk", openjdk(version))
    problem = java_problem(on_path(home))
    assert_says_how_to_mend_it(problem)
    assert f"Java 17 or 21 is needed, {home}/bin/java is {found}. " in str(problem)


@pytest.mark.parametrize("printed", ["", "Unable to locate a Java Runtime."], ids=["nothing", "no version"])
def test_command_that_prints_no_version(install: Install, printed: str) -> None:
    problem = java_problem(on_path(install("jdk", printed)))
    assert_says_how_to_mend_it(problem)
    assert "is unknown. " in str(problem)


def test_no_java_on_the_path(tmp_path: Path) -> None:
    problem = java_problem({"PATH": str(tmp_path)})
    assert_says_how_to_mend_it(problem)
    assert "Java 17 or 21 is needed, none was found. " in str(problem)


def test_java_home_that_points_nowhere(install: Install, tmp_path: Path) -> None:
    """Even with a good one on the path: Spark starts the one that JAVA_HOME names."""
    problem = java_problem({**on_path(install("jdk", openjdk("17.0.14"))), "JAVA_HOME": str(tmp_path / "nowhere")})
    assert_says_how_to_mend_it(problem)


@pytest.mark.parametrize(("at_home", "in_path", "is_fine"), [("17.0.14", "25.0.1", True), ("25.0.1", "17.0.14", False)])
def test_java_home_comes_before_the_path(install: Install, at_home: str, in_path: str, is_fine: bool) -> None:
    home, other = install("home", openjdk(at_home)), install("other", openjdk(in_path))
    problem = java_problem({**on_path(other), "JAVA_HOME": str(home)})
    assert (problem is None) is is_fine


def test_empty_java_home_is_none(install: Install) -> None:
    assert java_problem({**on_path(install("jdk", openjdk("21.0.6"))), "JAVA_HOME": ""}) is None


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere Java does not ask the locale")
@pytest.mark.parametrize(
    ("environ", "found"),
    [
        ({"LC_ALL": "C"}, "LC_ALL=C"),
        ({}, "none"),
        ({"LC_ALL": "", "LANG": "de_DE.ISO-8859-1"}, "LANG=de_DE.ISO-8859-1"),
        ({"LC_ALL": "C", "LANG": "C.UTF-8"}, "LC_ALL=C"),
        ({"LC_ALL": "C.UTF-8", "LANG": "C"}, None),
        ({"LC_CTYPE": "en_US.utf8"}, None),
        ({"LANG": "de_DE.UTF-8"}, None),
    ],
)
def test_a_folder_that_java_cannot_name_is_told(environ: dict[str, str], found: str | None) -> None:
    folder = "file:///home/jörg/lake/warehouse"
    problem = locale_problem({"spark.sql.catalog.lake": "x", "spark.sql.catalog.lake.warehouse": folder}, environ)
    if found is None:
        assert problem is None
    else:
        text = f"expected a locale of UTF-8, since {folder} is not ASCII; found {found}. Set LC_ALL=C.UTF-8."
        assert problem == text
    assert locale_problem({"warehouse": "file:///home/joerg/lake"}, environ) is None
