"""Declaring datasets in files, and the registry that walks them. Each test writes a package of its own."""

import importlib
import sys
from collections.abc import Callable, Iterator, Mapping
from datetime import time
from itertools import count
from pathlib import Path
from textwrap import dedent

import pytest

from affirm_assets.declare.calendar import US_FEDERAL, BusinessCalendar, Due
from affirm_assets.declare.dataset import Compute
from affirm_assets.declare.inputs import Before, Later, Previous, SameWindow, Through
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

RECORD = '''
class Row(Contract):
    """A record of a file."""
    file: str = key("File")
    record_number: int = key("Line")
    as_of: date = column("Date of the folder")
    loan_id: str | None = column("Loan")
    problem: str | None = column("Why it is none")
    raw: str | None = column("Its text then")
'''

CARRIED = """
class Row(Contract):
    \'\'\'A row.\'\'\'
    as_of: date = key("Business date")
    loan_id: str = key("Loan")
    product: str = column("Product")
    opening: int = column("As the day began")
    closing: int = column("As it ended")
"""


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
from datetime import date, datetime
from affirm_assets.declare.calendar import BusinessCalendar
from affirm_assets.declare.contract import Contract, column, key
from affirm_assets.declare.partitions import Daily, Monthly
from affirm_assets.declare.carry import Carry
from affirm_assets.declare.dataset import audit, dataset
from affirm_assets.declare.inputs import before, beside, landing, later, previous, same, shared, through, to_prove
{contract}
{dedent(before)}
@dataset(Row, partitions={partitions}, inputs={inputs}, audits={audits}, owner="{owner}"{more})
def {name}({", ".join(parameters)}):
    return "result", {", ".join((*parameters, ""))}
"""


def rows_of(feed: str, name: str = "loan_rows", **more: str) -> str:
    """The file of a dataset that reads a feed."""
    return module(
        name, "records", inputs=f'{{"records": landing({feed})}}', contract=more.pop("contract", RECORD), **more
    )


def refusing(name: str, *parameters: str) -> str:
    """The file of a dataset that says how many records of a feed it refuses."""
    audit = '''
        @audit()
        def few_are_refused(staged, feed):
            """Few are."""
    '''
    return module(name, *parameters, audits="[few_are_refused]", before=audit)


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
        more = ', compute="large", freshness="06:00 next business day", tags={"pii": "direct"}'
        loans = walk({"x/loans.py": module("loans", owner="books@lender.example", more=more + ", ranges=False")})[
            "loans"
        ]
        assert loans.partitions == Daily("as_of")
        assert (loans.owner, loans.compute, loans.tags) == ("books@lender.example", Compute("large"), {"pii": "direct"})
        assert (loans.freshness, loans.ranges) == (Due(time(6), 1, US_FEDERAL), False)

    def test_freshness_is_by_the_declared_calendar(self, walk: Walk) -> None:
        more = ', freshness="18:00 same day", calendar=BusinessCalendar("CA")'
        loans = walk({"x/loans.py": module("loans", more=more)})["loans"]
        assert loans.freshness == Due(time(18), 0, BusinessCalendar("CA"))

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

    def test_audit_s_parameter_is_read_as_a_transform_s_is(self, walk: Walk) -> None:
        before = '''
            @audit()
            def agrees(staged, payments, rates, earlier, window, last_published):
                """Agrees."""
                return staged
        '''
        declared = module("loans", "rates", inputs='{"earlier": before("payments")}', audits="[agrees]", before=before)
        files = {"x/loans.py": declared, **{f"x/{name}.py": module(name) for name in ("payments", "rates")}}
        registry = walk(files)
        assert registry["loans"].inputs == {
            "rates": SameWindow("rates"),
            "payments": SameWindow("payments"),
            "earlier": Before("payments"),
        }
        order = [each.name for each in registry.in_order()]
        assert order.index("payments") < order.index("loans")

    def test_audit_s_parameter_that_a_shared_frame_reads_is_what_it_reads(self, walk: Walk) -> None:
        before = '''
            @shared(inputs={"rows": through("loan_rows")})
            def outcomes(rows):
                return rows

            @shared(inputs={"outcomes": outcomes})
            def counted(outcomes):
                return outcomes

            @audit()
            def accounts(staged, rows):
                """All of them."""
                return staged
        '''
        declared = module("loans", "counted", inputs='{"counted": counted}', audits="[accounts]", before=before)
        loans = walk({"x/loan_rows.py": module("loan_rows"), "x/loans.py": declared})["loans"]
        assert loans.leaves == {"rows": Through("loan_rows")}

    def test_what_is_carried_gives_the_inputs_that_it_needs(self, walk: Walk) -> None:
        before = "def opened(rows, rates): return rows"
        more = ', carry=Carry({"opening": "closing"}, kept=("product",), opens=opened)'
        declared = module("loans", "previous_partition", contract=CARRIED, before=before, more=more)
        loans = walk({"x/loans.py": declared, "x/rates.py": module("rates")})["loans"]
        assert loans.inputs == {
            "previous_partition": Previous(1, "loans"),
            "later_partitions": Later("loans"),
            "rates": SameWindow("rates"),
            "next_rates": Later("rates", 1),
        }

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
                module("loans", more=', freshness="6 am"'),
                r"loans\.py: dataset 'loans': freshness=: expected a time of New York and a day, such as "
                r"'05:00 next business day'.*; found '6 am'",
                id="freshness of no form",
            ),
            pytest.param(
                "x/loans.py",
                module("loans", partitions=None, more=', freshness="06:00 same day"'),
                r"loans\.py: dataset 'loans': freshness= is the deadline of each business date; expected partitions",
                id="freshness without partitions",
            ),
            pytest.param(
                "landing/rows.py",
                module("rows", "records", inputs='{"records": landing("loans", {}, due="5:00 next business day")}'),
                r"rows\.py: dataset 'rows': landing\('loans'\), due=: expected a time of New York.*; found '5:00 next",
                id="deadline of no form",
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
                "x/previous_partition.py",
                module("previous_partition"),
                r"previous_partition\.py: dataset 'previous_partition': parameters of that name mean something else",
                id="named as what is carried",
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
                "landing/loan_rows.py",
                rows_of('"loans", {"loan_id": "text"}', contract=CONTRACT),
                r"dataset 'loan_rows': .* expected Row to have all their columns, found no file, problem, raw",
                id="records without their columns",
            ),
            pytest.param(
                "landing/loan_rows.py",
                module(
                    "loan_rows",
                    "records",
                    "others",
                    inputs='{"records": landing("loans", {}), "others": landing("others", {})}',
                    contract=RECORD,
                ),
                r"loan_rows\.py: dataset 'loan_rows': expected one landing\(\) input, found 2\.",
                id="two feeds",
            ),
            pytest.param(
                "landing/loan_rows.py",
                rows_of('"loans", {"loan_id": "money", "loan": "amount"}'),
                r"landing\('loans'\): expected each field to be one of text, money, .*; found loan: amount\.",
                id="field of an unknown kind",
            ),
            pytest.param(
                "landing/loan_rows.py",
                rows_of('"loans", {"loan_id": "text"}, refused_by="loans"'),
                r"loan_rows\.py: landing\('loans'\): expected refused_by= to name a dataset that reads 'loan_rows' "
                r"and has an audit .*; found 'loans'\.",
                id="refused by a dataset that there is not",
            ),
            pytest.param(
                "x/loans.py",
                refusing("loans"),
                r"loans\.py: dataset 'loans': an audit has the parameter 'feed'; expected one landing\(\) with "
                r"refused_by='loans', found none\.",
                id="audit of no feed",
            ),
            pytest.param(
                "landing/loans.py",
                module("loans", "records", partitions=None, inputs='{"records": landing("loans", {})}'),
                r"loans\.py: dataset 'loans': a feed arrives by day; expected partitions for a landing\(\) input",
                id="files read without partitions",
            ),
            pytest.param(
                "x/loans.py",
                module("loans", "window", inputs='{"rows": through("loan_rows")}'),
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

    @pytest.mark.parametrize(
        ("carry", "over", "message"),
        [
            pytest.param("{}", {}, "its carry= says of no column what it opens with", id="nothing"),
            pytest.param('{"open": "closing"}', {}, "its carry= names open; expected columns of Row", id="opening"),
            pytest.param('{"opening": "close"}', {}, "its carry= names close; expected", id="closing"),
            pytest.param('{"opening": "closing"}, kept=("kind",)', {}, "its carry= names kind; expected", id="kept"),
            pytest.param(
                '{"opening": "closing"}', {"partitions": None}, "expected partitions, found none", id="no partitions"
            ),
            pytest.param(
                '{"opening": "closing"}',
                {"contract": CARRIED.replace('column("As it ended")', 'column("As it ended", pii="direct")')},
                "expected no personal column in carry=, found closing",
                id="a personal column",
            ),
            pytest.param(
                '{"opening": "closing"}',
                {"contract": CARRIED.replace('key("Business date")', 'column("Business date")')},
                "expected its partition column 'as_of' to be a key column",
                id="key without the partition",
            ),
            pytest.param(
                '{"opening": "closing"}',
                {"inputs": '{"previous_partition": previous(2, "loans")}'},
                "its carry= says what previous_partition is",
                id="an input that it gives",
            ),
            pytest.param(
                '{"opening": "closing"}',
                {
                    "audits": "[opens_as_closed]",
                    "before": AUDIT.format(parameter="window").replace("agrees", "opens_as_closed"),
                },
                "found twice: opens_as_closed",
                id="an audit that it gives",
            ),
        ],
    )
    def test_carry(self, walk: Walk, carry: str, over: dict[str, str], message: str) -> None:
        declared = module("loans", **{"contract": CARRIED, "more": f", carry=Carry({carry})", **over})
        with pytest.raises(DeclarationError, match=rf"x/loans\.py: dataset 'loans': .*{message}"):
            walk({"x/loans.py": declared})

    def test_a_sum_of_what_is_no_money(self, walk: Walk) -> None:
        declared = module("loans", more=', sums=["loan_id"]')
        with pytest.raises(DeclarationError, match=r"'loans': expected sums= to name Money columns .*; found loan_id"):
            walk({"x/loans.py": declared})

    def test_two_audits_of_one_name(self, walk: Walk) -> None:
        declared = module("loans", audits="[agrees, agrees]", before=self.AUDIT.format(parameter="window"))
        with pytest.raises(
            DeclarationError, match=r"loans\.py: dataset 'loans': .*different names; found twice: agrees\."
        ):
            walk({"x/loans.py": declared})

    @pytest.mark.parametrize("name", ["not_null", "in_window", "keys_are_unique", "loan_id_min_length"])
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
        assert str(refused.value).endswith("Close to 'loan': loans. There are: loans, totals.")
        assert paths_in(refused.value) == ["x/totals.py"]

    def test_unknown_input_of_a_mapping(self, walk: Walk) -> None:
        declared = module("totals", "earlier", inputs='{"earlier": previous(1, "loan")}')
        with pytest.raises(DeclarationError, match="dataset 'totals', parameter 'earlier': no dataset is named 'loan'"):
            walk({"x/totals.py": declared})

    def test_unknown_input_of_a_shared_frame(self, walk: Walk) -> None:
        before = "@shared()\ndef outcomes(loan_row):\n    return loan_row\n"
        declared = module("loans", "outcomes", inputs='{"outcomes": outcomes}', before=before)
        with pytest.raises(
            DeclarationError, match=r"x/loans\.py: shared frame 'outcomes', parameter 'loan_row': no dataset is named"
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

    @pytest.mark.parametrize("word", ["same", "through"])
    def test_own_partition_of_the_window(self, walk: Walk, word: str) -> None:
        declared = module("loans", "own", inputs=f'{{"own": {word}("loans")}}')
        with pytest.raises(
            DeclarationError,
            match=rf"x/loans\.py: dataset 'loans', parameter 'own': {word}\('loans'\) is of the dataset itself, which "
            r"cannot read the partition that it computes\. Use previous\(\) or before\(\)",
        ):
            walk({"x/loans.py": declared})

    def test_own_name_in_an_audit(self, walk: Walk) -> None:
        declared = module("loans", audits="[agrees]", before=TestRefusedDeclarations.AUDIT.format(parameter="loans"))
        with pytest.raises(DeclarationError, match=r"parameter 'loans': same\('loans'\) .*; in an audit, `staged`\."):
            walk({"x/loans.py": declared})

    def test_what_is_carried_where_nothing_is(self, walk: Walk) -> None:
        with pytest.raises(DeclarationError, match=r"is named 'previous_partition'\. A dataset has it by its carry=\."):
            walk({"x/loans.py": module("loans", "previous_partition")})

    def test_unknown_input_of_an_audit(self, walk: Walk) -> None:
        declared = module("loans", audits="[agrees]", before=TestRefusedDeclarations.AUDIT.format(parameter="loan_row"))
        with pytest.raises(
            DeclarationError,
            match=r"x/loans\.py: audit 'agrees' of dataset 'loans', parameter 'loan_row': no dataset is named",
        ):
            walk({"x/loans.py": declared})

    def test_renamed_file_is_refused_with_all_that_reads_the_old_name(self, walk: Walk) -> None:
        """As two transforms, one by a mapping, an audit, what is carried, and a shared frame that two datasets name."""
        shared_frame = "from affirm_assets.declare.inputs import through, shared\n" + dedent("""
            @shared(inputs={"all_loans": through("loans")})
            def outcomes(all_loans):
                return all_loans
        """)
        audit = TestRefusedDeclarations.AUDIT.format(parameter="loans")
        carry = ', carry=Carry({"opening": "closing"}, opens=opened)'
        given = {"inputs": '{"outcomes": outcomes}', "before": "from ._outcomes import outcomes"}
        files = {
            "x/_outcomes.py": shared_frame,
            "x/booked_loans.py": module("booked_loans"),
            "x/a_reader.py": module("a_reader", "outcomes", **given),
            "x/b_reader.py": module("b_reader", "outcomes", **given),
            "x/c_reader.py": module("c_reader", "loans"),
            "x/d_reader.py": module("d_reader", "earlier", inputs='{"earlier": previous(2, "loans")}'),
            "x/e_reader.py": module("e_reader", audits="[agrees]", before=audit),
            "x/f_reader.py": module(
                "f_reader", contract=CARRIED, before="def opened(rows, loans): return rows", more=carry
            ),
            "x/unconcerned.py": module("unconcerned", "booked_loans"),
        }
        with pytest.raises(DeclarationError) as refused:
            walk(files)
        assert paths_in(refused.value) == [f"x/{name}.py" for name in ("_outcomes", *(f"{c}_reader" for c in "cdef"))]
        *readers, said = str(refused.value).splitlines()
        assert [line.partition(".py: ")[2] for line in readers] == [
            "shared frame 'outcomes', parameter 'all_loans': no dataset is named 'loans'.",
            "dataset 'c_reader', parameter 'loans': no dataset is named 'loans'.",
            "dataset 'd_reader', parameter 'earlier': no dataset is named 'loans'.",
            "audit 'agrees' of dataset 'e_reader', parameter 'loans': no dataset is named 'loans'.",
            "carry of dataset 'f_reader', parameter 'loans': no dataset is named 'loans'.",
        ]
        assert said.startswith("Close to 'loans': booked_loans. There are: a_reader, b_reader, booked_loans, ")

    @pytest.mark.parametrize(
        ("importing", "found"),
        [
            ("from .loans import Row", "No module named"),
            ("from .booked_loans import loans", "cannot import name 'loans'"),
        ],
        ids=["renamed file", "renamed function"],
    )
    def test_import_of_what_was_renamed_is_refused_with_the_file_that_imports(
        self, walk: Walk, importing: str, found: str
    ) -> None:
        files = {
            "x/_helpers.py": importing,
            "x/booked_loans.py": module("booked_loans"),
            "x/totals.py": module("totals", before="from . import _helpers"),
        }
        with pytest.raises(DeclarationError, match=rf"x/_helpers\.py: {found} .*Was a file renamed"):
            walk(files)

    def test_import_of_what_is_not_installed_is_python_s_own_error(self, walk: Walk) -> None:
        with pytest.raises(ModuleNotFoundError, match="No module named 'not_installed'"):
            walk({"x/loans.py": "import not_installed"})

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

    def test_beside_itself(self, walk: Walk) -> None:
        before = '@audit()\ndef agrees(staged, others):\n    "Agrees."\n    return staged\n'
        inputs = '{"before": previous(1, "loans"), "others": beside("loans")}'
        declared = module("loans", "before", inputs=inputs, audits="[agrees]", before=before)
        with pytest.raises(DeclarationError, match=r"beside\('loans'\) is for a dataset that reads"):
            walk({"x/loans.py": declared})

    def test_beside_for_an_audit_and_a_shared_frame(self, walk: Walk) -> None:
        before = '''
            @shared(inputs={"others": beside("totals")})
            def made(others):
                return others

            @audit()
            def agrees(staged, others):
                """Agrees."""
                return staged
        '''
        inputs = '{"made": made, "others": beside("totals")}'
        declared = module("loans", "made", inputs=inputs, audits="[agrees]", before=before)
        with pytest.raises(DeclarationError, match=r"dataset 'loans': beside\(\) is for audits .*: others\."):
            walk({"x/loans.py": declared, "x/totals.py": module("totals", "loans")})

    def test_beside_for_what_is_computed(self, walk: Walk) -> None:
        declared = module("loans", "others", inputs='{"others": beside("totals")}')
        with pytest.raises(DeclarationError, match=r"dataset 'loans': beside\(\) is for audits .*: others\."):
            walk({"x/loans.py": declared, "x/totals.py": module("totals", "loans")})

    def test_a_lookup_by_what_is_no_column_of_text(self, walk: Walk) -> None:
        declared = module("totals", "loans", inputs='{"loans": through("loans", by="closed_on")}')
        with pytest.raises(DeclarationError, match=r"text of 'loans', which has loan_id; found 'closed_on'"):
            walk({"x/loans.py": module("loans"), "x/totals.py": declared})

    def test_to_prove_for_what_is_computed(self, walk: Walk) -> None:
        declared = module("loans", "others", inputs='{"others": to_prove("totals")}')
        with pytest.raises(DeclarationError, match=r"dataset 'loans': to_prove\(\) is for audits alone: .*: others\."):
            walk({"x/loans.py": declared, "x/totals.py": module("totals")})

    def test_to_prove_of_a_dataset_that_carries_nothing(self, walk: Walk) -> None:
        before = '@audit()\ndef proven(staged, others):\n    """Proves."""\n    return staged\n'
        declared = module("loans", before=before, inputs='{"others": to_prove("totals")}', audits="[proven]")
        with pytest.raises(DeclarationError, match=r"dataset 'loans': to_prove\(\) is for what is carried"):
            walk({"x/loans.py": declared, "x/totals.py": module("totals")})

    def test_beside_for_a_shared_frame(self, walk: Walk) -> None:
        before = "@shared(inputs={'others': beside('totals')})\ndef made(others):\n    return others\n"
        declared = module("loans", "made", inputs='{"made": made}', before=before)
        with pytest.raises(DeclarationError, match=r"dataset 'loans': beside\(\) is for audits .*: others\."):
            walk({"x/loans.py": declared, "x/totals.py": module("totals", "loans")})

    @pytest.mark.parametrize("word", ["previous(1, {})", "before({})", "through({})", "later({})"])
    @pytest.mark.parametrize(("own", "upstream"), [(None, DAILY), (DAILY, None)], ids=["reader", "input"])
    def test_earlier_partitions_where_one_side_has_none(
        self, walk: Walk, word: str, own: str | None, upstream: str | None
    ) -> None:
        inputs = f'{{"loans": {word.format(repr("loans"))}}}'
        totals = module("totals", "loans", partitions=own, inputs=inputs)
        with pytest.raises(
            DeclarationError,
            match=r"'totals', parameter 'loans': previous\(\), before\(\), through\(\), later\(\) and to_prove\(\) are",
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
        rows = rows_of('"loans", {"loan_id": "text"}')
        registry = walk({"landing/loan_rows.py": rows, "x/loans.py": module("loans", "loan_rows")})
        assert {name: feed.fields for name, feed in registry.feeds.items()} == {"loans": {"loan_id": "text"}}

    def test_a_dataset_refuses_records_of_a_feed(self, walk: Walk) -> None:
        rows = rows_of('"loans", {"loan_id": "text"}, refused_by="loans"')
        registry = walk({"landing/loan_rows.py": rows, "x/loans.py": refusing("loans", "loan_rows")})
        assert [each.feed for each in registry["loans"].refuses_of(registry.datasets.values())] == ["loans"]

    @pytest.mark.parametrize("loans", [module("loans", "loan_rows"), refusing("loans")], ids=["no audit", "no rows"])
    def test_who_refuses_a_feed_s_records_is_said_on_both_sides(self, walk: Walk, loans: str) -> None:
        rows = rows_of('"loans", {"loan_id": "text"}, refused_by="loans"')
        with pytest.raises(DeclarationError, match=r"expected refused_by= to name a dataset that reads 'loan_rows'"):
            walk({"landing/loan_rows.py": rows, "x/loans.py": loans})


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
