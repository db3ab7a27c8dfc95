"""A dataset's code version changes with the code that it runs, and with nothing else."""

from collections.abc import Callable, Mapping
from itertools import count
from pathlib import Path

import pytest

from affirm_assets.orchestration.code_version import code_version

VersionOf = Callable[[Mapping[str, str]], str]

PROJECT = {
    "books/__init__.py": "",
    "books/loans.py": "from books.amounts import cents\n",
    "books/amounts.py": "from books.rounding import half_up\n",
    "books/rounding.py": "def half_up(): ...\n",
    "books/unrelated.py": "LIMIT = 1\n",
    "books/tools/__init__.py": "",
    "books/tools/dates.py": "DAYS = 360\n",
}
"""loans -> amounts -> rounding; nothing imports unrelated or tools."""


@pytest.fixture
def version_of(tmp_path: Path) -> VersionOf:
    """The code version of books/loans.py in PROJECT, with these files instead of or beside its own."""
    numbers = count()

    def version_of(changes: Mapping[str, str]) -> str:
        root = tmp_path / str(next(numbers))
        for path, source in {**PROJECT, **changes}.items():
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).write_text(source)
        return code_version({"books": root}, "books.loans")

    return version_of


def test_is_twelve_hex_digits(version_of: VersionOf) -> None:
    assert len(bytes.fromhex(version_of({}))) == 6


def test_does_not_depend_on_where_the_project_lies(version_of: VersionOf) -> None:
    assert version_of({}) == version_of({})


@pytest.mark.parametrize(
    ("path", "source"),
    [
        pytest.param("books/loans.py", "from books.amounts import cents, dollars\n", id="its own file"),
        pytest.param(
            "books/amounts.py", "from books.rounding import half_up, half_even\n", id="a module that it imports"
        ),
        pytest.param("books/rounding.py", "def half_up(): return 5\n", id="a module imported by that one"),
        pytest.param("books/__init__.py", "LIMIT = 1\n", id="the package that it is in"),
        pytest.param("books/rounding.csv", "digits\n2\n", id="the table of a module imported"),
    ],
)
def test_changes_with(version_of: VersionOf, path: str, source: str) -> None:
    assert version_of({path: source}) != version_of({})


@pytest.mark.parametrize(
    ("path", "source"),
    [
        pytest.param("books/unrelated.py", "LIMIT = 2\n", id="a module beside it"),
        pytest.param("books/unrelated.csv", "limit\n2\n", id="the table of a module beside it"),
        pytest.param("books/tools/dates.py", "DAYS = 365\n", id="a module in another folder"),
        pytest.param("books/new.py", "from books.loans import loans\n", id="a module that imports it"),
        pytest.param("other/amounts.py", "CENTS = 1\n", id="a module of the same name in another package"),
    ],
)
def test_does_not_change_with(version_of: VersionOf, path: str, source: str) -> None:
    assert version_of({path: source}) == version_of({})


@pytest.mark.parametrize(
    "statement",
    [
        pytest.param("import books.tools.dates", id="import"),
        pytest.param("import books.tools.dates as dates", id="import as"),
        pytest.param("from books.tools.dates import DAYS", id="from module import name"),
        pytest.param("from books.tools import dates", id="from package import module"),
        pytest.param("from books.tools import dates as calendar", id="from package import module as"),
        pytest.param("from .tools.dates import DAYS", id="relative module"),
        pytest.param("from .tools import dates", id="relative package"),
        pytest.param("def loans():\n    from books.tools.dates import DAYS", id="inside a function"),
        pytest.param(
            "try:\n    pass\nexcept ValueError:\n    if DAYS:\n        import books.tools.dates", id="inside statements"
        ),
        pytest.param("match 1:\n    case 1:\n        import books.tools.dates", id="inside a case"),
        pytest.param("import books.unrelated, books.tools.dates as dates", id="several"),
        pytest.param("from books.tools import (\n    other,\n    dates as calendar,\n)", id="on several lines"),
        pytest.param("from books.tools import (\n    # of months\n    dates,\n)", id="with a comment among them"),
        pytest.param("from books.tools import dates  # of months", id="with a comment behind it"),
        pytest.param("from books.tools \\\n    import dates", id="on a continued line"),
        pytest.param("LIMIT = 1; import books.tools.dates", id="behind another statement"),
        pytest.param("if LIMIT: import books.tools.dates", id="behind a condition"),
        pytest.param("import\tbooks.tools.dates", id="with a tab"),
        pytest.param("import books . tools . dates", id="with spaces between its names"),
        pytest.param('"""\nimport books\n"""\nimport books.tools.dates', id="below a text that reads like one"),
    ],
)
def test_follows(version_of: VersionOf, statement: str) -> None:
    importing = {"books/loans.py": f"{statement}\n"}
    assert version_of({**importing, "books/tools/dates.py": "DAYS = 365\n"}) != version_of(importing)


@pytest.mark.parametrize(
    ("statement", "path"),
    [
        pytest.param("from . import periods", "books/tools/periods.py", id="from . import"),
        pytest.param("from .. import unrelated", "books/unrelated.py", id="from .. import"),
        pytest.param("from ..unrelated import LIMIT", "books/unrelated.py", id="from ..module import"),
    ],
)
def test_follows_relative_imports_of_a_nested_module(version_of: VersionOf, statement: str, path: str) -> None:
    importing = {
        "books/loans.py": "from books.tools.dates import DAYS\n",
        "books/tools/dates.py": f"{statement}\n",
        "books/tools/periods.py": "",
    }
    assert version_of({**importing, path: "LIMIT = 3\n"}) != version_of(importing)


def test_follows_what_a_package_imports_for_others(version_of: VersionOf) -> None:
    importing = {
        "books/loans.py": "from books.tools import DAYS\n",
        "books/tools/__init__.py": "from .dates import DAYS\n",
    }
    assert version_of({**importing, "books/tools/dates.py": "DAYS = 365\n"}) != version_of(importing)


def test_follows_what_the_package_of_an_imported_module_runs(version_of: VersionOf) -> None:
    importing = {
        "books/loans.py": "from books.tools.dates import DAYS\n",
        "books/tools/__init__.py": "import books.unrelated\n",
    }
    assert version_of({**importing, "books/tools/__init__.py": ""}) != version_of(importing)
    assert version_of({**importing, "books/unrelated.py": "LIMIT = 2\n"}) != version_of(importing)


def test_follows_a_module_in_a_folder_that_has_no_init(version_of: VersionOf) -> None:
    importing = {"books/loans.py": "from books.plain.dates import DAYS\n", "books/plain/dates.py": "DAYS = 360\n"}
    assert version_of({**importing, "books/plain/dates.py": "DAYS = 365\n"}) != version_of(importing)


def test_modules_that_import_each_other_are_followed_once(version_of: VersionOf) -> None:
    circular = {"books/rounding.py": "from books.amounts import cents\n"}
    assert version_of(circular) != version_of({})


@pytest.mark.parametrize(
    "statement", ["import vendor.rates", "from vendor.rates import RATE", "from vendor import rates", "import vendor"]
)
def test_a_third_party_s_package_does_not_count(version_of: VersionOf, statement: str) -> None:
    """Even where it is installed beside the project's."""
    importing = {"books/loans.py": f"{statement}\n", "vendor/__init__.py": "", "vendor/rates.py": "RATE = 1\n"}
    changed = {"vendor/__init__.py": "LIMIT = 2\n", "vendor/rates.py": "RATE = 2\n"}
    assert version_of({**importing, **changed}) == version_of(importing)


def test_is_over_all_modules_that_are_named(tmp_path: Path) -> None:
    def version(folder: str, unrelated: str) -> str:
        for path, source in {**PROJECT, "books/unrelated.py": unrelated}.items():
            (tmp_path / folder / path).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / folder / path).write_text(source)
        return code_version({"books": tmp_path / folder}, "books.loans", "books.unrelated")

    assert version("one", "LIMIT = 1\n") != version("other", "LIMIT = 2\n")


def test_follows_into_a_package_of_the_project_in_another_folder(tmp_path: Path) -> None:
    def version(folder: str, days: str) -> str:
        books, tools = (tmp_path / folder / name for name in ("a/books", "b/tools"))
        for package, file, source in (
            (books, "loans.py", "from tools.dates import DAYS\n"),
            (tools, "dates.py", f"{days}\n"),
        ):
            package.mkdir(parents=True)
            (package / "__init__.py").touch()
            (package / file).write_text(source)
        return code_version({"books": books.parent, "tools": tools.parent}, "books.loans")

    assert version("one", "DAYS = 360") == version("same", "DAYS = 360") != version("other", "DAYS = 365")
