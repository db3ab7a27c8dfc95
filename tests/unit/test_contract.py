"""A contract: what a column may be, and what follows from it."""

import re
from collections.abc import Callable
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal, Optional, Self

import annotated_types
import pyiceberg.types as iceberg
import pyspark.sql.types as spark
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import AfterValidator, Field, create_model, field_validator, model_validator
from pyiceberg.schema import Schema

from affirm_assets.declare.contract import (
    ColumnSpec,
    Contract,
    Money,
    Rate,
    Rule,
    column,
    column_differences,
    columns,
    iceberg_schema,
    java_pattern,
    key,
    key_columns,
    required_columns,
    schema_change,
    spark_schema,
    sql_text,
)
from affirm_assets.errors import ContractError

DROPPED = None

_LATE = Literal["1-29"]


def contract_with(**overrides: Any) -> type[Contract]:
    """A valid contract, but for these fields: (annotation, declaration), or DROPPED."""
    fields = {
        "loan_id": (str, key("Loan")),
        "principal": (Money, column("Amount lent")),
        "closed_on": (date | None, column("Day on which it was closed")),
        **overrides,
    }
    return create_model(
        "Loan",
        __base__=Contract,
        __doc__="A loan.",
        **{name: field for name, field in fields.items() if field is not DROPPED},
    )


def value_spec(annotation: Any, declared: Any = None) -> ColumnSpec:
    """The column `value`, declared so in a contract that is valid otherwise."""
    specs = columns(contract_with(value=(annotation, declared or column("Value"))))
    return next(spec for spec in specs if spec.name == "value")


class Borrower:
    """No type that a column can have."""


class TestTypes:
    @pytest.mark.parametrize(
        ("annotation", "iceberg_type", "spark_type"),
        [
            pytest.param(str, iceberg.StringType(), spark.StringType(), id="str"),
            pytest.param(int, iceberg.LongType(), spark.LongType(), id="int"),
            pytest.param(bool, iceberg.BooleanType(), spark.BooleanType(), id="bool"),
            pytest.param(date, iceberg.DateType(), spark.DateType(), id="date"),
            pytest.param(datetime, iceberg.TimestamptzType(), spark.TimestampType(), id="datetime"),
            pytest.param(Money, iceberg.DecimalType(18, 2), spark.DecimalType(18, 2), id="Money"),
            pytest.param(Rate, iceberg.DecimalType(9, 6), spark.DecimalType(9, 6), id="Rate"),
            pytest.param(
                Annotated[Decimal, Field(max_digits=38, decimal_places=0)],
                iceberg.DecimalType(38, 0),
                spark.DecimalType(38, 0),
                id="decimal of the most digits",
            ),
            pytest.param(Literal["current", "late"], iceberg.StringType(), spark.StringType(), id="Literal of str"),
            pytest.param(Literal[4, 12], iceberg.LongType(), spark.LongType(), id="Literal of int"),
        ],
    )
    @pytest.mark.parametrize("nullable", [False, True], ids=["required", "nullable"])
    def test_type_becomes_the_same_column_in_iceberg_and_spark(
        self, annotation: Any, iceberg_type: iceberg.IcebergType, spark_type: spark.DataType, nullable: bool
    ) -> None:
        spec = value_spec(annotation | None if nullable else annotation)
        assert (spec.iceberg_type, spec.spark_type, spec.required) == (iceberg_type, spark_type, not nullable)

    def test_optional_is_the_same_as_or_none(self) -> None:
        assert value_spec(Optional[int]) == value_spec(int | None)  # noqa: UP045

    def test_decimal_may_get_its_digits_from_the_column(self) -> None:
        spec = value_spec(Decimal, column("Value", max_digits=5, decimal_places=1))
        assert spec.iceberg_type == iceberg.DecimalType(5, 1)

    def test_column_is_not_pii_unless_declared(self) -> None:
        assert value_spec(str).pii is None

    @pytest.mark.parametrize("declare", [column, key])
    def test_direct_identifier_is_known_as_such(self, declare: Callable[..., Any]) -> None:
        assert value_spec(str, declare("E-mail address", pii="direct")).pii == "direct"


class TestSchemas:
    def test_iceberg_fields_count_from_one_in_declared_order(self) -> None:
        fields = iceberg_schema(contract_with()).fields
        assert [(field.field_id, field.name) for field in fields] == [
            (1, "loan_id"),
            (2, "principal"),
            (3, "closed_on"),
        ]

    def test_iceberg_fields_have_docs_and_nullability(self) -> None:
        fields = iceberg_schema(contract_with()).fields
        assert [(field.doc, field.required) for field in fields] == [
            ("Loan", True),
            ("Amount lent", True),
            ("Day on which it was closed", False),
        ]

    def test_iceberg_identifier_fields_are_the_key(self) -> None:
        schema = iceberg_schema(contract_with(as_of=(date, key("Business date"))))
        assert [schema.find_column_name(number) for number in schema.identifier_field_ids] == ["loan_id", "as_of"]

    def test_spark_schema_has_types_nullability_and_comments(self) -> None:
        assert spark_schema(contract_with()) == spark.StructType(
            [
                spark.StructField("loan_id", spark.StringType(), False, {"comment": "Loan"}),
                spark.StructField("principal", spark.DecimalType(18, 2), False, {"comment": "Amount lent"}),
                spark.StructField("closed_on", spark.DateType(), True, {"comment": "Day on which it was closed"}),
            ]
        )

    def test_key_columns_in_declared_order(self) -> None:
        assert key_columns(contract_with(as_of=(date, key("Business date")))) == ("loan_id", "as_of")

    def test_required_columns_are_those_without_none(self) -> None:
        assert required_columns(contract_with()) == ("loan_id", "principal")


class TestRefusedAtImport:
    """A contract that cannot be a table fails when its class statement runs."""

    @pytest.mark.parametrize(
        ("annotation", "shown"),
        [
            pytest.param(float, "float", id="float"),
            pytest.param(bytes, "bytes", id="bytes"),
            pytest.param(list[str], "list", id="list"),
            pytest.param(dict[str, str], "dict", id="dict"),
            pytest.param(Any, "Any", id="Any"),
            pytest.param(str | int, "str | int", id="union of two types"),
            pytest.param(str | int | None, "str | int | None", id="nullable union of two types"),
            pytest.param(float | None, "float", id="nullable float"),
            pytest.param(Borrower, "Borrower", id="class"),
            pytest.param(Borrower | None, "Borrower", id="nullable class"),
        ],
    )
    def test_type_that_is_no_column_type(self, annotation: Any, shown: str) -> None:
        with pytest.raises(
            ContractError, match=r"Loan\.value: .*is not a column type\. Expected str, int, bool"
        ) as refused:
            value_spec(annotation)
        assert f"{shown} is not" in str(refused.value)

    @pytest.mark.parametrize(
        ("annotation", "found"),
        [
            pytest.param(Decimal, "max_digits=None, decimal_places=None", id="neither digits nor places"),
            pytest.param(
                Annotated[Decimal, Field(max_digits=18)], "max_digits=18, decimal_places=None", id="no places"
            ),
            pytest.param(
                Annotated[Decimal, Field(decimal_places=2)], "max_digits=None, decimal_places=2", id="no digits"
            ),
            pytest.param(
                Annotated[Decimal, Field(max_digits=39, decimal_places=2)], "max_digits=39", id="more than Spark holds"
            ),
            pytest.param(
                Annotated[Decimal, Field(max_digits=2, decimal_places=3)],
                "max_digits=2, decimal_places=3",
                id="more places than digits",
            ),
        ],
    )
    def test_decimal_without_usable_digits_and_places(self, annotation: Any, found: str) -> None:
        with pytest.raises(
            ContractError, match=r"Loan\.value: a Decimal needs max_digits .* as Money and Rate"
        ) as refused:
            value_spec(annotation)
        assert found in str(refused.value)

    @pytest.mark.parametrize(
        ("annotation", "found"),
        [
            pytest.param(Literal["late", 1], "('late', 1)", id="str and int"),
            pytest.param(Literal["late", None], "('late', None)", id="None among the values"),
            pytest.param(Literal[True, False], "(True, False)", id="bool"),
        ],
    )
    def test_literal_of_other_than_all_str_or_all_int(self, annotation: Any, found: str) -> None:
        with pytest.raises(
            ContractError, match=r"Loan\.value: the values of a Literal are all str or all int"
        ) as refused:
            value_spec(annotation)
        assert found in str(refused.value)

    def test_nullable_key(self) -> None:
        with pytest.raises(ContractError, match=r"Loan\.loan_id: a key column cannot be nullable; found str \| None"):
            contract_with(loan_id=(str | None, key("Loan")))

    def test_no_key(self) -> None:
        with pytest.raises(ContractError, match=r"Loan: expected at least one key\(\) column, found none"):
            contract_with(loan_id=(str, column("Loan")))

    def test_no_docstring(self) -> None:
        with pytest.raises(ContractError, match="Undocumented: a contract says in its docstring what one row is"):

            class Undocumented(Contract):
                loan_id: str = key("Loan")

    @pytest.mark.parametrize(
        "declared",
        [
            pytest.param(..., id="bare annotation"),
            pytest.param("USD", id="default value"),
            pytest.param(Field(description="Value"), id="pydantic's Field"),
        ],
    )
    def test_field_not_declared_by_key_or_column(self, declared: Any) -> None:
        with pytest.raises(ContractError, match=r"Loan\.value: declare it with key\(\.\.\.\) or column\(\.\.\.\)"):
            contract_with(value=(str, declared))

    @pytest.mark.parametrize("name", ["Value", "loanId", "größe"], ids=["capital", "camel case", "letter beyond a-z"])
    def test_bad_column_name(self, name: str) -> None:
        with pytest.raises(
            ContractError, match=rf"Loan\.{name}: a column name is lower-case letters, digits and underscores"
        ):
            contract_with(**{name: (str, column("Value"))})

    @pytest.mark.parametrize("description", ["", "  ", "\n"], ids=["nothing", "blanks", "line break"])
    @pytest.mark.parametrize("declare", [column, key])
    def test_empty_description(self, declare: Callable[..., Any], description: str) -> None:
        with pytest.raises(ContractError, match=r"Loan\.value: expected a description, found none"):
            value_spec(str, declare(description))

    @pytest.mark.parametrize(
        "constraint",
        [
            pytest.param({"gte": 0}, id="misspelled"),
            pytest.param({"multiple_of": 5}, id="one of pydantic's that no audit checks"),
            pytest.param({"strict": True}, id="option of pydantic's"),
            pytest.param({"default": 0}, id="default"),
        ],
    )
    @pytest.mark.parametrize("declare", [column, key])
    def test_constraint_of_another_name(self, declare: Callable[..., Any], constraint: dict[str, Any]) -> None:
        (name,) = constraint
        with pytest.raises(
            ContractError,
            match=rf"Loan\.value: \['{name}'\] cannot become an audit\. Expected ge, gt, le, lt, pattern, ",
        ):
            value_spec(int, declare("Value", **constraint))

    @pytest.mark.parametrize(
        ("annotation", "named"),
        [
            pytest.param(Annotated[int, Field(multiple_of=5)], "multiple_of=5", id="multiple_of"),
            pytest.param(Annotated[int, Field(strict=True)], "strict", id="strict"),
            pytest.param(Annotated[str, AfterValidator(str.strip)], "AfterValidator", id="validator function"),
            pytest.param(Annotated[int, annotated_types.Interval(ge=0, le=5)] | None, "Interval", id="interval inside"),
        ],
    )
    def test_constraint_of_a_type_that_cannot_become_an_audit(self, annotation: Any, named: str) -> None:
        with pytest.raises(ContractError, match=r"Loan\.value: the constraint .* cannot become an audit") as refused:
            value_spec(annotation)
        assert named in str(refused.value)

    @pytest.mark.parametrize(
        ("annotation", "constraint", "shown"),
        [
            pytest.param(str, {"ge": 1}, r"Ge\(ge=1\) does not fit the type str", id="number as bound of text"),
            pytest.param(str, {"lt": "b"}, r"Lt\(lt='b'\) does not fit the type str", id="text as bound of text"),
            pytest.param(bool, {"le": 1}, r"Le\(le=1\) does not fit the type bool", id="bound of bool"),
            pytest.param(Literal[4, 12], {"gt": 4}, r"Gt\(gt=4\) does not fit the type Literal", id="bound of Literal"),
            pytest.param(int, {"pattern": "^1"}, "pattern='\\^1' does not fit the type int", id="pattern of int"),
            pytest.param(
                Literal["late"],
                {"pattern": "^l"},
                "pattern='\\^l' does not fit the type Literal",
                id="pattern of Literal",
            ),
            pytest.param(
                date, {"min_length": 2}, r"MinLen\(min_length=2\) does not fit the type date", id="length of date"
            ),
            pytest.param(
                Money, {"max_length": 2}, r"MaxLen\(max_length=2\) does not fit the type Decimal", id="length of Money"
            ),
            pytest.param(
                int | None, {"pattern": "^1"}, "pattern='\\^1' does not fit the type int", id="pattern of nullable int"
            ),
        ],
    )
    def test_constraint_that_does_not_fit_the_type(
        self, annotation: Any, constraint: dict[str, Any], shown: str
    ) -> None:
        with pytest.raises(ContractError, match=rf"Loan\.value: the constraint {shown}"):
            value_spec(annotation, column("Value", **constraint))

    @pytest.mark.parametrize(
        ("constraint", "said"),
        [
            pytest.param({"pattern": "^(L1"}, "unclosed group", id="a pattern that is none"),
            pytest.param({"pattern": "^(?!L1)"}, "look-around", id="a pattern that engines read otherwise"),
            pytest.param({"min_length": -1}, "negative", id="a length below zero"),
        ],
    )
    def test_constraint_that_no_text_can_keep(self, constraint: dict[str, Any], said: str) -> None:
        with pytest.raises(ContractError, match=rf"(?s)Loan\.value: the constraint .* cannot be kept .*{said}"):
            value_spec(str, column("Value", **constraint))

    @pytest.mark.parametrize(
        ("annotation", "constraint", "kind"),
        [
            pytest.param(Annotated[int, Field(ge=1)], {"ge": 3}, "ge", id="lower bound"),
            pytest.param(Annotated[int, Field(lt=3)] | None, {"lt": 1}, "lt", id="upper bound of a nullable"),
            pytest.param(Annotated[int, Field(ge=1)], {"ge": 1}, "ge", id="the same bound"),
            pytest.param(Annotated[int, annotated_types.Ge(1), annotated_types.Ge(3)], {}, "ge", id="both of the type"),
            pytest.param(Annotated[str, Field(pattern="^a")] | None, {"pattern": "b$"}, "pattern", id="pattern"),
            pytest.param(Annotated[str, Field(max_length=9)], {"max_length": 5}, "max_length", id="length"),
        ],
    )
    def test_two_bounds_of_one_kind(self, annotation: Any, constraint: dict[str, Any], kind: str) -> None:
        with pytest.raises(
            ContractError, match=rf"Loan: a column has two constraints of one kind: value_{kind}\. Keep one"
        ):
            value_spec(annotation, column("Value", **constraint))

    def test_validator_of_a_field(self) -> None:
        with pytest.raises(ContractError, match="Loan: a pydantic validator or computed field cannot become an audit"):

            class Loan(Contract):
                """A loan."""

                loan_id: str = key("Loan")

                @field_validator("loan_id")
                @classmethod
                def begins_with_l(cls, value: str) -> str:
                    return value

    def test_validator_of_a_row(self) -> None:
        with pytest.raises(ContractError, match="Loan: a pydantic validator or computed field cannot become an audit"):

            class Loan(Contract):
                """A loan."""

                loan_id: str = key("Loan")

                @model_validator(mode="after")
                def agrees(self) -> Self:
                    return self

    @pytest.mark.parametrize(
        ("fields", "named"),
        [
            pytest.param({"value": (float, column("Value"))}, "Loan.value", id="type"),
            pytest.param({"value": (int, column("Value", gte=0))}, "Loan.value", id="unknown constraint"),
            pytest.param({"value": (str, column("Value", ge=0))}, "Loan.value", id="constraint that does not fit"),
            pytest.param({"value": (int, column(""))}, "Loan.value", id="description"),
            pytest.param({"loan_id": (str, column("Loan"))}, "Loan", id="no key"),
            pytest.param({"value": (Annotated[int, Field(ge=1)], column("Value", ge=3))}, "Loan", id="two bounds"),
        ],
    )
    def test_message_begins_with_the_file_and_names_the_contract(self, fields: dict[str, Any], named: str) -> None:
        with pytest.raises(ContractError) as refused:
            contract_with(**fields)
        assert str(refused.value).startswith(f"{Path(__file__)}: {named}: ")

    @pytest.mark.parametrize(
        ("annotation", "bound"),
        [pytest.param(Money, 0.5, id="float"), pytest.param(int, True, id="bool")],
    )
    def test_bound_that_is_not_exact(self, annotation: Any, bound: Any) -> None:
        with pytest.raises(ContractError, match=rf"Loan\.value: a bound is an int, Decimal, .*found {bound}"):
            value_spec(annotation, column("Value", ge=bound))


class TestRules:
    @pytest.mark.parametrize(
        ("annotation", "declared", "rule"),
        [
            pytest.param(int, column("Value", ge=1), Rule("value_ge", "value >= 1", "`value` < 1"), id="ge"),
            pytest.param(int, column("Value", gt=-3), Rule("value_gt", "value > -3", "`value` <= -3"), id="gt"),
            pytest.param(int, column("Value", le=9), Rule("value_le", "value <= 9", "`value` > 9"), id="le"),
            pytest.param(int, column("Value", lt=9), Rule("value_lt", "value < 9", "`value` >= 9"), id="lt"),
            pytest.param(
                Money,
                column("Value", ge=Decimal("0.01")),
                Rule("value_ge", "value >= 0.01", "`value` < 0.01BD"),
                id="decimal bound",
            ),
            pytest.param(
                Money,
                column("Value", le=Decimal("1E+3")),
                Rule("value_le", "value <= 1E+3", "`value` > 1000BD"),
                id="exponent",
            ),
            pytest.param(
                date,
                column("Value", ge=date(2020, 2, 29)),
                Rule("value_ge", "value >= 2020-02-29", "`value` < DATE '2020-02-29'"),
                id="date bound",
            ),
            pytest.param(
                datetime,
                column("Value", lt=datetime(2030, 1, 1, 12, 30)),
                Rule("value_lt", "value < 2030-01-01 12:30:00", "`value` >= TIMESTAMP '2030-01-01T12:30:00'"),
                id="datetime bound",
            ),
            pytest.param(
                str,
                column("Value", min_length=2),
                Rule("value_min_length", "value has 2 characters or more", "length(`value`) < 2"),
                id="min_length",
            ),
            pytest.param(
                str,
                column("Value", max_length=5),
                Rule("value_max_length", "value has 5 characters or fewer", "length(`value`) > 5"),
                id="max_length",
            ),
            pytest.param(
                Literal["current", "1-29"],
                column("Value"),
                Rule("value_is_known", "value is one of current, 1-29", "`value` NOT IN ('current', '1-29')"),
                id="Literal of str",
            ),
            pytest.param(
                Literal[_LATE, "current"],
                column("Value"),
                Rule("value_is_known", "value is one of 1-29, current", "`value` NOT IN ('1-29', 'current')"),
                id="Literal of a named one and more",
            ),
            pytest.param(
                Literal[4, 12],
                column("Value"),
                Rule("value_is_known", "value is one of 4, 12", "`value` NOT IN (4, 12)"),
                id="Literal of int",
            ),
            pytest.param(
                Literal["borrower's", "\\"],
                column("Value"),
                Rule("value_is_known", "value is one of borrower's, \\", "`value` NOT IN ('borrower\\'s', '\\\\')"),
                id="Literal with quote and backslash",
            ),
        ],
    )
    def test_constraint_becomes_a_named_rule(self, annotation: Any, declared: Any, rule: Rule) -> None:
        assert value_spec(annotation, declared).rules == (rule,)

    @pytest.mark.parametrize(
        ("pattern", "literal"),
        [
            pytest.param("^[A-Z]{2}$", r"'^[A-Z]{2}\\z'", id="plain"),
            pytest.param(r"^\d{4}\.$", r"'^\\d{4}\\.\\z'", id="backslashes"),
            pytest.param("^[^']+$", r"'^[^\']+\\z'", id="single quote"),
            pytest.param('^"$', r"""'^"\\z'""", id="double quote"),
            pytest.param(r"\'", r"'\\\''", id="backslash before quote"),
        ],
    )
    def test_pattern_is_quoted_for_spark(self, pattern: str, literal: str) -> None:
        rule = Rule("value_pattern", f"value matches {pattern}", f"NOT rlike(`value`, {literal})")
        assert value_spec(str, column("Value", pattern=pattern)).rules == (rule,)

    @pytest.mark.parametrize(
        ("pattern", "in_java"),
        [
            pytest.param("^L[0-9]+$", r"^L[0-9]+\z", id="at the end"),
            pytest.param("x$|y$", r"x\z|y\z", id="of each alternative"),
            pytest.param("^(x$|y)$", r"^(x\z|y)\z", id="of an alternative in a group"),
            pytest.param("^(x$)", r"^(x\z)", id="at the end of a group"),
            pytest.param(r"^\$[0-9]+$", r"^\$[0-9]+\z", id="after an escaped one"),
            pytest.param(r"[0-9]+\$", r"[0-9]+\$", id="escaped at the end"),
            pytest.param(r"\$|€", r"\$|€", id="escaped in an alternative"),
            pytest.param("^[$€][0-9]", "^[$€][0-9]", id="one of a class"),
            pytest.param("^L", "^L", id="none"),
        ],
    )
    def test_end_of_text_is_written_for_java(self, pattern: str, in_java: str) -> None:
        assert java_pattern(pattern) == in_java

    @pytest.mark.parametrize("pattern", ["^L[0-9]+$", "^x$|^L1$", "^(L1$|x)"])
    def test_trailing_line_break_does_not_satisfy_a_pattern(self, pattern: str) -> None:
        (rule,) = value_spec(str, column("Value", pattern=pattern)).rules
        in_sql = spark_reads(rule.violation.removeprefix("NOT rlike(`value`, ").removesuffix(")"))
        # `$` means the same in Java and Python, and Java's \z is \Z in Python.
        in_python = in_sql.replace(r"\z", r"\Z")
        assert [bool(re.search(in_python, value)) for value in ("L1", "L1\n")] == [True, False]

    @pytest.mark.parametrize("nullable", [False, True], ids=["required", "nullable"])
    def test_constraints_of_a_type_and_of_its_column_add_up(self, nullable: bool) -> None:
        annotation = Annotated[int, Field(ge=1)]
        spec = value_spec(annotation | None if nullable else annotation, column("Value", le=9))
        assert {rule.name for rule in spec.rules} == {"value_ge", "value_le"}

    def test_digits_and_places_are_the_column_type_and_no_rule(self) -> None:
        assert value_spec(Money).rules == ()

    @given(st.text())
    def test_sql_text_is_read_back_as_the_same_text(self, text: str) -> None:
        assert spark_reads(sql_text(text)) == text


def spark_reads(literal: str) -> str:
    """What Spark makes of a string literal in which nothing but quotes and backslashes is escaped."""
    inside = re.fullmatch(r"'((?:[^'\\]|\\['\\])*)'", literal, re.DOTALL)
    assert inside is not None, f"not one string literal: {literal}"
    return re.sub(r"\\(.)", r"\1", inside[1], flags=re.DOTALL)


class TestSchemaChange:
    """What separates the table of `contract_with()` from a contract that differs from it in one thing."""

    TABLE = iceberg_schema(contract_with())

    def test_same_contract_changes_nothing(self) -> None:
        assert schema_change(contract_with(), self.TABLE).is_empty

    def test_nullable_column_is_added(self) -> None:
        change = schema_change(contract_with(note=(str | None, column("Note"))), self.TABLE)
        assert ([spec.name for spec in change.add], change.refused) == (["note"], ())

    def test_column_made_nullable_is_relaxed(self) -> None:
        change = schema_change(contract_with(principal=(Money | None, column("Amount lent"))), self.TABLE)
        assert (change.relax, change.refused) == (("principal",), ())

    def test_changed_description_is_documented(self) -> None:
        change = schema_change(contract_with(principal=(Money, column("Amount lent, in dollars"))), self.TABLE)
        assert ([(spec.name, spec.doc) for spec in change.redoc], change.refused) == (
            [("principal", "Amount lent, in dollars")],
            (),
        )

    @pytest.mark.parametrize(
        ("changed", "refused"),
        [
            pytest.param(
                {"closed_on": DROPPED},
                ["column closed_on (date) is in the table, but not in the contract: dropped or renamed?"],
                id="dropped",
            ),
            pytest.param(
                {"closed_on": DROPPED, "ended_on": (date | None, column("Day on which it was closed"))},
                ["column closed_on (date) is in the table, but not in the contract: dropped or renamed?"],
                id="renamed",
            ),
            pytest.param(
                {"closed_on": (datetime | None, column("Day on which it was closed"))},
                ["column closed_on: the table has date, the contract timestamptz"],
                id="retyped",
            ),
            pytest.param(
                {"principal": (Annotated[Decimal, Field(max_digits=10, decimal_places=2)], column("Amount lent"))},
                ["column principal: the table has decimal(18, 2), the contract decimal(10, 2)"],
                id="precision narrowed",
            ),
            pytest.param(
                {"principal": (Annotated[Decimal, Field(max_digits=20, decimal_places=2)], column("Amount lent"))},
                ["column principal: the table has decimal(18, 2), the contract decimal(20, 2)"],
                id="precision widened",
            ),
            pytest.param(
                {"state": (str, column("State"))},
                ["column state (string) is new and not nullable: rows already there have none"],
                id="required column added",
            ),
            pytest.param(
                {"closed_on": (date, column("Day on which it was closed"))},
                ["column closed_on: nullable in the table, not nullable in the contract (narrowed)"],
                id="nullable made required",
            ),
            pytest.param(
                {"principal": (Money, key("Amount lent"))},
                ["key: the table has loan_id, the contract loan_id, principal"],
                id="key widened",
            ),
            pytest.param(
                {"loan_id": (str, column("Loan")), "principal": (Money, key("Amount lent"))},
                ["key: the table has loan_id, the contract principal"],
                id="key moved",
            ),
        ],
    )
    def test_change_that_loses_or_reinterprets_rows_is_refused(
        self, changed: dict[str, Any], refused: list[str]
    ) -> None:
        assert list(schema_change(contract_with(**changed), self.TABLE).refused) == refused

    def test_every_refusal_is_shown_at_once(self) -> None:
        changed = contract_with(closed_on=DROPPED, principal=(int, column("Amount lent")), state=(str, column("State")))
        assert len(schema_change(changed, self.TABLE).refused) == 3

    @pytest.mark.parametrize(
        "alter",
        [
            pytest.param(
                lambda fields: [f.model_copy(update={"field_id": f.field_id + 40}) for f in fields], id="field ids"
            ),
            pytest.param(lambda fields: [fields[2], fields[0], fields[1]], id="order of the columns"),
        ],
    )
    def test_what_others_may_set_in_a_table_does_not_matter(
        self, alter: Callable[[tuple[iceberg.NestedField, ...]], list[iceberg.NestedField]]
    ) -> None:
        fields = alter(self.TABLE.fields)
        identifiers = [field.field_id for field in fields if field.name == "loan_id"]
        assert schema_change(contract_with(), Schema(*fields, schema_id=7, identifier_field_ids=identifiers)).is_empty

    def test_table_without_a_key_is_refused(self) -> None:
        change = schema_change(contract_with(), Schema(*self.TABLE.fields))
        assert change.refused == ("key: the table has none, the contract loan_id",)


class TestColumnDifferences:
    FITTING = spark_schema(contract_with())

    def test_none_for_a_frame_that_fits(self) -> None:
        assert column_differences(contract_with(), self.FITTING) == []

    def test_order_and_nullability_do_not_matter(self) -> None:
        frame = spark.StructType([spark.StructField(f.name, f.dataType) for f in reversed(self.FITTING.fields)])
        assert column_differences(contract_with(), frame) == []

    @pytest.mark.parametrize(
        ("frame", "differences"),
        [
            pytest.param(spark.StructType(FITTING.fields[:2]), ["missing column closed_on (date)"], id="missing"),
            pytest.param(
                spark.StructType([*FITTING.fields, spark.StructField("note", spark.StringType())]),
                ["extra column note (string)"],
                id="extra",
            ),
            pytest.param(
                spark.StructType([*FITTING.fields, FITTING.fields[0]]),
                ["column loan_id appears 2 times"],
                id="repeated",
            ),
            pytest.param(
                spark.StructType(
                    [FITTING.fields[0], spark.StructField("principal", spark.DecimalType(20, 4)), FITTING.fields[2]]
                ),
                ["column principal: expected decimal(18,2), found decimal(20,4)"],
                id="mistyped",
            ),
            pytest.param(
                spark.StructType([spark.StructField("Loan_ID", spark.StringType()), *FITTING.fields[1:]]),
                ["missing column loan_id (string)", "extra column Loan_ID (string)"],
                id="other case",
            ),
            pytest.param(
                spark.StructType(
                    [
                        spark.StructField("principal", spark.DoubleType()),
                        FITTING.fields[2],
                        spark.StructField("x", spark.LongType()),
                    ]
                ),
                [
                    "missing column loan_id (string)",
                    "extra column x (bigint)",
                    "column principal: expected decimal(18,2), found double",
                ],
                id="all shown at once",
            ),
        ],
    )
    def test_difference_names_the_column_and_both_types(self, frame: spark.StructType, differences: list[str]) -> None:
        assert column_differences(contract_with(), frame) == differences


@pytest.mark.parametrize(
    ("pattern", "java"),
    [
        pytest.param(r"^\\$", r"^\\\z", id="anchor after an escaped backslash"),
        pytest.param(r"^\$$", r"^\$\z", id="anchor after an escaped dollar"),
        pytest.param("[$|]", "[$|]", id="dollar in a class"),
        pytest.param("[a$)]$", r"[a$)]\z", id="anchor after a class with a dollar"),
        pytest.param("^a$(?!b)", r"^a\z(?!b)", id="anchor before a group"),
    ],
)
def test_java_pattern_replaces_anchors_only(pattern: str, java: str) -> None:
    assert java_pattern(pattern) == java
