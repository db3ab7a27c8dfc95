"""Declaring datasets in files, and the registry that walks them. Each test writes a package of its own."""

import importlib
import sys
from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta
from itertools import count
from pathlib import Path
from textwrap import dedent

import pytest

from affirm_assets.declare.dataset import Compute
from affirm_assets.declare.inputs import SameWindow
from affirm_assets.declare.partitions import Daily
from affirm_assets.declare.registry import Registry
from affirm_assets.errors import ContractError, DeclarationError

Walk = Callable[..., Registry]

_package_numbers = count()

DAILY = 'Daily("as_of")'
CONTRACT = '''
class Row(Contract):
    """A row."""
    as_of: date = key("Business date")
    loan_id: str = key("Loan")
    seen_at: datetime = column("When")
    closed_on: date | None = column("Day on which it was closed")
'''


def module(
    name: str,
    *parameters: str,
    partitions: str | None = DAILY,
    inputs: str = "{}",
    audits: str = "[]",
    owner: str = "team:lending",
    contract: str = CONTRACT,
    before: str = "",
    more: str = "",
) -> str:
    """The file of a valid daily dataset of this name that reads these others, but for what is given."""
    return f"""
from datetime import date, datetime, timedelta
from affirm_assets.declare.contract import Contract, column, key
from affirm_assets.declare.partitions import Daily, Monthly
from affirm_assets.declare.dataset import audit, dataset
from affirm_assets.declare.inputs import beside, history, landing, previous, shared
{contract}
{dedent(before)}
@dataset(Row, partitions={partitions}, inputs={inputs}, audits={audits}, owner="{owner}"{more})
def {name}({", ".join(parameters)}):
    return "result", {", ".join((*parameters, ""))}
"""


LOOKING = module(
    "loans",
    inputs='{"others": beside("totals")}',
    audits="[agrees]",
    before='''
        @audit()
        def agrees(staged, others, published):
            """The totals are of these loans."""
            return staged
    ''',
)
"""One with an audit of what another has published."""


@pytest.fixture
def walk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Walk]:
    """Write files (path -> source) into a new package, with an __init__.py in each folder or not, and walk it."""
    package = f"books_{next(_package_numbers)}"
    monkeypatch.syspath_prepend(tmp_path)

    def walk(files: Mapping[str, str], *, with_init: bool = True) -> Registry:
        for path, source in files.items():
            file = tmp_path / package / path
            file.parent.mkdir(parents=True, exist_ok=True)
            if with_init:
                (file.parent / "__init__.py").touch()
            file.write_text(source)
        (tmp_path / package / "__init__.py").touch()
        importlib.invalidate_caches()
        return Registry.walk(importlib.import_module(package))

    yield walk
    for name in [name for name in sys.modules if name.partition(".")[0] == package]:
        del sys.modules[name]


class TestDeclaration:
    def test_function_stays_callable(self, walk: Walk) -> None:
        loans = walk(
            {"loans/loans.py": module("loans", "loans_before", inputs='{"loans_before": previous(1, "loans")}')}
        )["loans"]
        assert loans("yesterday's frame") == ("result", "yesterday's frame")

    def test_name_domain_and_source_are_those_of_the_file(self, walk: Walk, tmp_path: Path) -> None:
        loans = walk({"lending/loans.py": module("loans")})["loans"]
        assert (loans.name, loans.domain, loans.source.parent.name) == ("loans", "lending", "lending")
        assert loans.source.is_relative_to(tmp_path)

    def test_parameter_is_the_dataset_of_its_name_for_the_same_window(self, walk: Walk) -> None:
        registry = walk({"x/loans.py": module("loans"), "x/totals.py": module("totals", "loans")})
        assert registry["totals"].inputs == {"loans": SameWindow("loans")}

    def test_parameter_window_is_no_input(self, walk: Walk) -> None:
        assert walk({"x/loans.py": module("loans", "window")})["loans"].inputs == {}

    def test_description_is_the_contract_s_if_the_function_has_none(self, walk: Walk) -> None:
        assert walk({"x/loans.py": module("loans")})["loans"].description == "A row."

    def test_what_is_declared_is_kept(self, walk: Walk) -> None:
        more = ', compute="large", freshness=timedelta(hours=36), retention=timedelta(days=90), tags={"pii": "direct"}'
        loans = walk({"x/loans.py": module("loans", owner="books@lender.example", more=more + ", ranges=False")})[
            "loans"
        ]
        assert loans.partitions == Daily("as_of")
        assert (loans.owner, loans.compute, loans.tags) == ("books@lender.example", Compute("large"), {"pii": "direct"})
        assert (loans.freshness, loans.retention, loans.ranges) == (timedelta(hours=36), timedelta(days=90), False)

    def test_audit_may_ask_for_shared_frames_their_inputs_and_the_window(self, walk: Walk) -> None:
        before = '''
            @shared()
            def outcomes(loan_rows):
                return loan_rows

            @audit()
            def accounts(staged, outcomes, loan_rows, window):
                """Received = accepted + rejected."""
                return staged
        '''
        declared = module("loans", "outcomes", inputs='{"outcomes": outcomes}', audits="[accounts]", before=before)
        registry = walk({"x/loan_rows.py": module("loan_rows"), "x/loans.py": declared})
        assert [each.name for each in registry["loans"].audits] == ["accounts"]

    def test_what_an_audit_looks_at_beside_the_dataset_is_computed_after_it(self, walk: Walk) -> None:
        registry = walk({"x/loans.py": LOOKING, "x/totals.py": module("totals", "loans")})
        assert [each.name for each in registry.in_order()] == ["loans", "totals"]


class TestRefusedDeclarations:
    """Each message begins with the file and names the dataset."""

    @pytest.mark.parametrize(
        ("path", "source", "message"),
        [
            pytest.param(
                "x/loan.py",
                module("loans"),
                r"loan\.py: dataset 'loans': expected its file to be named loans\.py",
                id="file name",
            ),
            pytest.param(
                "x/loans.py",
                module("loans", owner="lending"),
                r"loans\.py: dataset 'loans': expected owner to be an e-mail address or 'team:<name>'; found 'lending'",
                id="owner of no kind",
            ),
            pytest.param(
                "x/loans.py",
                module("loans", owner="team:"),
                r"loans\.py: dataset 'loans': expected owner .*; found 'team:'",
                id="team without a name",
            ),
            pytest.param(
                "x/loans.py",
                module("loans", owner="team:consumer lending"),
                r"loans\.py: dataset 'loans': expected owner .*; found 'team:consumer lending'",
                id="team of two words",
            ),
            pytest.param(
                "x/loans.py",
                module("loans", owner="books@lender"),
                r"loans\.py: dataset 'loans': expected owner .*; found 'books@lender'",
                id="address without a domain",
            ),
            pytest.param(
                "x/loans.py",
                module("loans", owner="books@lender.example, more"),
                r"loans\.py: dataset 'loans': expected owner .*; found 'books@lender\.example, more'",
                id="address and more",
            ),
            pytest.param(
                "Lending/loans.py",
                module("loans"),
                r"Lending/loans\.py: dataset 'loans': its name and its folder's, the domain, are lower-case",
                id="domain with a capital",
            ),
            pytest.param(
                "consumer-lending/loans.py",
                module("loans"),
                r"consumer-lending/loans\.py: dataset 'loans': its name and its folder's, the domain, are lower-case",
                id="domain with a hyphen",
            ),
            pytest.param(
                "x/window.py",
                module("window"),
                r"window\.py: dataset 'window': parameters of that name mean something else",
                id="named window",
            ),
            pytest.param(
                "x/staged.py",
                module("staged"),
                r"staged\.py: dataset 'staged': parameters of that name mean something else",
                id="named staged",
            ),
            pytest.param(
                "x/loans.py",
                module("loans", partitions='Daily("booked_on")'),
                r"loans\.py: dataset 'loans': its partition column 'booked_on' is not in Row, which has as_of, loan_id",
                id="partition column missing",
            ),
            pytest.param(
                "x/loans.py",
                module("loans", partitions='Daily("loan_id")'),
                r"loans\.py: dataset 'loans': its partition column 'loan_id' must be a date.*; found string",
                id="partition column is text",
            ),
            pytest.param(
                "x/loans.py",
                module("loans", partitions='Monthly("seen_at")'),
                r"loans\.py: dataset 'loans': its partition column 'seen_at' must be a date.*; found timestamptz",
                id="partition column is a time",
            ),
            pytest.param(
                "x/loans.py",
                module("loans", partitions='Daily("closed_on")'),
                r"loans\.py: dataset 'loans': its partition column 'closed_on' must be a date, never null; "
                "found nullable date",
                id="partition column is nullable",
            ),
            pytest.param(
                "loans/loans.py",
                module("loans", "records", inputs='{"records": landing("loans", {})}'),
                r"loans\.py: dataset 'loans': only datasets in the folder landing/ read files",
                id="files read outside landing",
            ),
            pytest.param(
                "landing/loans.py",
                module("loans", "records", partitions=None, inputs='{"records": landing("loans", {})}'),
                r"loans\.py: dataset 'loans': a feed arrives by day; expected partitions for a landing\(\) input",
                id="files read without partitions",
            ),
            pytest.param(
                "x/loans.py",
                module("loans", "window", inputs='{"rows": history("loan_rows")}'),
                r"loans\.py: loans maps rows, which is none of its parameters \(none\)",
                id="mapped name is no parameter",
            ),
        ],
    )
    def test_dataset(self, walk: Walk, path: str, source: str, message: str) -> None:
        with pytest.raises(DeclarationError, match=message):
            walk({path: source})

    AUDIT = '''
        @audit()
        def agrees(staged, {parameter}=None):
            """Agrees."""
            return staged
    '''

    def test_audit_with_unknown_parameter(self, walk: Walk) -> None:
        declared = module("loans", "loan_rows", audits="[agrees]", before=self.AUDIT.format(parameter="loan_row"))
        with pytest.raises(
            DeclarationError, match=r"loans\.py: dataset 'loans': its audit 'agrees' asks for loan_row;"
        ) as refused:
            walk({"x/loans.py": declared})
        assert "expected inputs of the dataset: loan_rows" in str(refused.value)

    def test_two_audits_of_one_name(self, walk: Walk) -> None:
        declared = module("loans", audits="[agrees, agrees]", before=self.AUDIT.format(parameter="window"))
        with pytest.raises(
            DeclarationError, match=r"loans\.py: dataset 'loans': .*different names; found twice: agrees\."
        ):
            walk({"x/loans.py": declared})

    @pytest.mark.parametrize("name", ["not_null", "in_window", "unique_key", "loan_id_min_length"])
    def test_audit_of_a_name_that_the_dataset_has_already(self, walk: Walk, name: str) -> None:
        before = self.AUDIT.format(parameter="window").replace("agrees", name)
        contract = CONTRACT.replace('key("Loan")', 'key("Loan", min_length=1)')
        with pytest.raises(
            DeclarationError, match=rf"loans\.py: dataset 'loans': .*different names; found twice: {name}\."
        ):
            walk({"x/loans.py": module("loans", audits=f"[{name}]", before=before, contract=contract)})

    @pytest.mark.parametrize(
        ("before", "message"),
        [
            pytest.param(
                "@audit()\ndef agrees(staged): ...",
                r"x/loans\.py: audit 'agrees': expected a docstring",
                id="audit without docstring",
            ),
            pytest.param(
                "@audit()\ndef agrees(loans):\n    'Agrees.'",
                r"x/loans\.py: audit 'agrees': expected its first parameter to be 'staged'",
                id="audit without staged",
            ),
        ],
    )
    def test_part_of_a_declaration_stops_the_walk(self, walk: Walk, before: str, message: str) -> None:
        with pytest.raises(DeclarationError, match=message):
            walk({"x/loans.py": module("loans", before=before)})

    def test_nullable_key_stops_the_walk(self, walk: Walk) -> None:
        contract = 'class Row(Contract):\n    """A row."""\n    as_of: date | None = key("Business date")\n'
        with pytest.raises(ContractError, match=r"x/loans\.py: Row\.as_of: a key column cannot be nullable"):
            walk({"x/loans.py": module("loans", contract=contract)})


class TestRefusedRegistries:
    """Datasets that are valid one by one and do not fit each other."""

    def test_duplicate_name(self, walk: Walk) -> None:
        with pytest.raises(DeclarationError, match="a dataset named 'loans' is already declared in") as refused:
            walk({"lending/loans.py": module("loans"), "servicing/loans.py": module("loans")})
        assert {"lending/loans.py", "servicing/loans.py"} == set(paths_in(refused.value))

    def test_unknown_input(self, walk: Walk) -> None:
        with pytest.raises(
            DeclarationError, match="dataset 'totals', parameter 'loan': no dataset is named 'loan'"
        ) as refused:
            walk({"x/loans.py": module("loans"), "x/totals.py": module("totals", "loan")})
        assert str(refused.value).endswith("There are: loans, totals.")
        assert paths_in(refused.value) == ["x/totals.py"]

    def test_unknown_input_of_a_mapping(self, walk: Walk) -> None:
        declared = module("totals", "earlier", inputs='{"earlier": previous(1, "loan")}')
        with pytest.raises(DeclarationError, match="dataset 'totals', parameter 'earlier': no dataset is named 'loan'"):
            walk({"x/totals.py": declared})

    def test_unknown_input_of_a_shared_frame(self, walk: Walk) -> None:
        before = "@shared()\ndef outcomes(loan_row):\n    return loan_row\n"
        declared = module("loans", "outcomes", inputs='{"outcomes": outcomes}', before=before)
        with pytest.raises(
            DeclarationError, match="dataset 'loans', parameter 'loan_row': no dataset is named 'loan_row'"
        ):
            walk({"x/loans.py": declared})

    @pytest.mark.parametrize(
        "files",
        [
            pytest.param({"x/a.py": module("a", "b"), "x/b.py": module("b", "a")}, id="of two"),
            pytest.param(
                {"x/a.py": module("a", "b"), "x/b.py": module("b", "c"), "x/c.py": module("c", "a")}, id="of three"
            ),
            pytest.param(
                {"x/a.py": module("a", "b"), "x/b.py": module("b", "a", inputs='{"a": previous(1, "a")}')},
                id="through earlier partitions",
            ),
        ],
    )
    def test_cycle(self, walk: Walk, files: dict[str, str]) -> None:
        with pytest.raises(DeclarationError, match=r"read each other in a cycle: ((\w) -> .*\2)\.") as refused:
            walk(files)
        assert all(f" {name[2]} " in f" {refused.value} " for name in files)
        assert len(paths_in(refused.value)) == 1

    def test_own_partition_of_the_same_window(self, walk: Walk) -> None:
        with pytest.raises(
            DeclarationError, match="parameter 'loans': a dataset cannot read the partition that it computes"
        ):
            walk({"x/loans.py": module("loans", "loans")})

    @pytest.mark.parametrize("n", [0, -1])
    def test_less_than_one_earlier_partition(self, walk: Walk, n: int) -> None:
        declared = module("totals", "earlier", inputs=f'{{"earlier": previous({n}, "loans")}}')
        with pytest.raises(
            DeclarationError,
            match=rf"x/totals\.py: dataset 'totals', parameter 'earlier': previous\({n}, 'loans'\) reads nothing",
        ):
            walk({"x/loans.py": module("loans"), "x/totals.py": declared})

    def test_less_than_one_earlier_partition_of_a_shared_frame(self, walk: Walk) -> None:
        before = "@shared(inputs={'earlier': previous(0, 'loans')})\ndef outcomes(earlier):\n    return earlier\n"
        declared = module("loans", "outcomes", inputs='{"outcomes": outcomes}', before=before)
        with pytest.raises(
            DeclarationError, match=r"dataset 'loans', parameter 'earlier': previous\(0, 'loans'\) reads"
        ):
            walk({"x/loans.py": declared})

    def test_beside_one_that_does_not_read_the_dataset(self, walk: Walk) -> None:
        with pytest.raises(
            DeclarationError, match=r"parameter 'others': beside\('totals'\) is for a dataset that reads"
        ):
            walk({"x/loans.py": LOOKING, "x/totals.py": module("totals")})

    def test_beside_one_of_other_partitions(self, walk: Walk) -> None:
        totals = module("totals", "loans", partitions='Monthly("as_of")')
        with pytest.raises(DeclarationError, match=r"beside\('totals'\) is for .* partitions of the same kind"):
            walk({"x/loans.py": LOOKING, "x/totals.py": totals})

    def test_beside_for_what_is_computed(self, walk: Walk) -> None:
        declared = module("loans", "others", inputs='{"others": beside("totals")}')
        with pytest.raises(DeclarationError, match=r"dataset 'loans': beside\(\) is for audits .*: others\."):
            walk({"x/loans.py": declared, "x/totals.py": module("totals", "loans")})

    def test_beside_for_a_shared_frame(self, walk: Walk) -> None:
        before = "@shared(inputs={'others': beside('totals')})\ndef made(others):\n    return others\n"
        declared = module("loans", "made", inputs='{"made": made}', before=before)
        with pytest.raises(DeclarationError, match=r"dataset 'loans': beside\(\) is for audits .*: others\."):
            walk({"x/loans.py": declared, "x/totals.py": module("totals", "loans")})

    @pytest.mark.parametrize("mapping", ['previous(1, "loans")', 'history("loans")'], ids=["previous", "history"])
    @pytest.mark.parametrize(("own", "upstream"), [(None, DAILY), (DAILY, None)], ids=["reader", "input"])
    def test_earlier_partitions_where_one_side_has_none(
        self, walk: Walk, mapping: str, own: str | None, upstream: str | None
    ) -> None:
        totals = module("totals", "loans", partitions=own, inputs=f'{{"loans": {mapping}}}')
        with pytest.raises(
            DeclarationError,
            match=r"'totals', parameter 'loans': previous\(\), history\(\) and later\(\) are for partit",
        ):
            walk({"x/loans.py": module("loans", partitions=upstream), "x/totals.py": totals})


def paths_in(error: Exception) -> list[str]:
    """The declaring files that a message names, in order, without the folder of the test."""
    words = [word.rstrip(".:") for word in str(error).split()]
    return ["/".join(Path(word).parts[-2:]) for word in words if word.endswith(".py")]


class TestWalk:
    def test_every_folder_is_walked(self, walk: Walk) -> None:
        registry = walk({"lending/loans.py": module("loans"), "portfolio/totals.py": module("totals", "loans")})
        assert sorted(map(str, registry.datasets.values())) == ["lending/loans", "portfolio/totals"]

    def test_file_in_a_folder_without_init_is_found(self, walk: Walk) -> None:
        registry = walk({"lending/loans.py": module("loans")}, with_init=False)
        assert list(map(str, registry.datasets.values())) == ["lending/loans"]

    @pytest.mark.parametrize("path", ["_drafts/totals.py", "x/_old/totals.py", "_old/x/totals.py"])
    @pytest.mark.parametrize("with_init", [True, False], ids=["with init", "without"])
    def test_folder_with_underscore_is_skipped(self, walk: Walk, path: str, with_init: bool) -> None:
        files = {"x/loans.py": module("loans"), path: "raise AssertionError('imported')"}
        assert list(walk(files, with_init=with_init).datasets) == ["loans"]

    def test_module_with_underscore_is_a_helper(self, walk: Walk) -> None:
        registry = walk({"x/loans.py": module("loans"), "x/_helpers.py": "raise AssertionError('imported')"})
        assert list(registry.datasets) == ["loans"]

    @pytest.mark.parametrize("source", ["", "LIMIT = 5\n"], ids=["empty", "no dataset"])
    def test_file_without_dataset_is_refused(self, walk: Walk, source: str) -> None:
        with pytest.raises(DeclarationError, match=r"^/.*/x/limits\.py: expected a dataset in this file, found none"):
            walk({"x/loans.py": module("loans"), "x/limits.py": source})

    def test_dataset_of_two_names_in_its_file_is_one(self, walk: Walk) -> None:
        assert list(walk({"x/loans.py": module("loans") + "\nledger = loans\n"}).datasets) == ["loans"]

    def test_imported_dataset_belongs_to_its_own_file(self, walk: Walk) -> None:
        importing = "from .loans import loans\n" + module("totals", "loans")
        assert sorted(walk({"x/loans.py": module("loans"), "x/totals.py": importing}).datasets) == ["loans", "totals"]

    def test_feeds_are_those_that_a_dataset_reads(self, walk: Walk) -> None:
        rows = module("loan_rows", "records", inputs='{"records": landing("loans", {"loan_id": "text"})}')
        registry = walk({"landing/loan_rows.py": rows, "x/loans.py": module("loans", "loan_rows")})
        assert {name: feed.fields for name, feed in registry.feeds.items()} == {"loans": {"loan_id": "text"}}


BOOKS = {
    "x/a_report.py": module("a_report", "loans", "payments"),
    "x/loans.py": module("loans", "rows", "earlier", inputs='{"earlier": previous(1, "loans")}'),
    "x/payments.py": module("payments", "rows", "loans"),
    "x/rows.py": module("rows"),
    "x/b_unrelated.py": module("b_unrelated"),
}


class TestOrder:
    def test_upstream_comes_first(self, walk: Walk) -> None:
        order = [each.name for each in walk(BOOKS).in_order()]
        assert sorted(order) == ["a_report", "b_unrelated", "loans", "payments", "rows"]
        assert order.index("rows") < order.index("loans") < order.index("payments") < order.index("a_report")

    def test_does_not_depend_on_the_order_of_declaration(self, walk: Walk) -> None:
        declared = list(walk(BOOKS).datasets.values())
        orders = {tuple(each.name for each in Registry.of(some).in_order()) for some in (declared, declared[::-1])}
        assert len(orders) == 1
