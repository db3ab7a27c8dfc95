"""Column lineage on plans made by hand, in the shape in which Spark writes them."""

from typing import Any

import pytest

from affirm_assets.engines.spark.lineage import column_lineage
from affirm_assets.steps.lineage import ColumnRef

Plan = list[dict[str, Any]]
PLANS = "org.apache.spark.sql.catalyst.plans.logical"
EXPRESSIONS = "org.apache.spark.sql.catalyst.expressions"


def tree(kind: str, *children: Plan, package: str = PLANS, **fields: Any) -> Plan:
    head = {"class": f"{package}.{kind}", "num-children": len(children), **fields}
    return [head, *(node for child in children for node in child)]


def expression(kind: str, *children: Plan, **fields: Any) -> Plan:
    return tree(kind, *children, package=EXPRESSIONS, **fields)


def attribute(name: str, id: int) -> Plan:
    return expression("AttributeReference", name=name, exprId={"id": id, "jvmId": "j"})


def alias(name: str, id: int, child: Plan) -> Plan:
    return expression("Alias", child, name=name, exprId={"id": id, "jvmId": "j"}, child=0)


def literal() -> Plan:
    return expression("Literal", value="1", dataType="integer")


def table(name: str, qualifier: Any = "[lake, loans]", **columns: int) -> Plan:
    relation = tree("DataSourceV2Relation", output=[attribute(*column) for column in columns.items()], identifier=None)
    return tree("SubqueryAlias", relation, identifier={"name": name, "qualifier": qualifier}, child=0)


def project(child: Plan, *columns: Plan) -> Plan:
    return tree("Project", child, projectList=list(columns), child=0)


def join(left: Plan, right: Plan, how: str) -> Plan:
    condition = expression("EqualTo", attribute("a", 1), attribute("a", 11))
    return tree(
        "Join", left, right, joinType={"object": f"org.apache.spark.sql.catalyst.plans.{how}$"}, condition=condition
    )


def lineage(plan: Plan) -> dict[str, set[str]]:
    return {name: {f"{each.table}.{each.column}" for each in found} for name, found in column_lineage(plan).items()}


T = table("t", a=1, b=2)
U = table("u", a=11, c=12)


def test_a_table_is_its_own_lineage_without_the_catalog() -> None:
    assert column_lineage(T) == {
        "a": frozenset([ColumnRef("loans.t", "a")]),
        "b": frozenset([ColumnRef("loans.t", "b")]),
    }


def test_an_alias_of_the_user_does_not_rename_the_table() -> None:
    assert lineage(tree("SubqueryAlias", T, identifier={"name": "x", "qualifier": []})) == lineage(T)


@pytest.mark.parametrize("qualifier", [[], "[global_temp]"])
def test_a_name_outside_a_catalog_is_no_table(qualifier: Any) -> None:
    assert lineage(table("view", qualifier, a=1)) == {"a": set()}


def test_nested_namespaces_are_part_of_the_name() -> None:
    assert lineage(table("t", "[lake, x, y]", a=1)) == {"a": {"x.y.t.a"}}


@pytest.mark.parametrize("kind", ["LogicalRDD", "LocalRelation", "Range"])
def test_a_leaf_that_is_no_table_contributes_nothing(kind: str) -> None:
    leaf = tree(kind, output=[attribute("a", 1)])
    assert lineage(project(leaf, attribute("a", 1), alias("b", 2, attribute("a", 1)))) == {"a": set(), "b": set()}


def test_a_projection_names_computes_and_drops() -> None:
    sum_of_both = expression("Add", expression("Cast", attribute("a", 1)), attribute("b", 2))
    plan = project(T, alias("s", 3, sum_of_both), alias("one", 4, literal()), attribute("b", 2))
    assert lineage(plan) == {"s": {"loans.t.a", "loans.t.b"}, "one": set(), "b": {"loans.t.b"}}


def test_the_condition_of_a_case_counts() -> None:
    case = expression("CaseWhen", expression("IsNull", attribute("a", 1)), literal(), attribute("b", 2))
    assert lineage(project(T, alias("x", 3, case))) == {"x": {"loans.t.a", "loans.t.b"}}


def test_columns_that_only_filter_or_sort_do_not_count() -> None:
    plan = tree("Filter", T, condition=expression("IsNotNull", attribute("b", 2)))
    plan = tree("Sort", plan, order=[expression("SortOrder", attribute("b", 2))])
    assert lineage(project(plan, attribute("a", 1))) == {"a": {"loans.t.a"}}


def test_an_aggregate_is_of_its_argument_and_not_of_its_groups_or_filter() -> None:
    def aggregated(function: Plan, *filter: Plan) -> Plan:
        return expression("AggregateExpression", function, *filter, aggregateFunction=0)

    total = aggregated(expression("Sum", attribute("b", 2)), expression("IsNotNull", attribute("a", 1)))
    latest = aggregated(expression("MaxBy", attribute("b", 2), attribute("a", 1)))
    counted = aggregated(expression("Count", literal()))
    plan = tree(
        "Aggregate",
        T,
        groupingExpressions=[attribute("a", 1)],
        aggregateExpressions=[attribute("a", 1), alias("t", 3, total), alias("l", 4, latest), alias("n", 5, counted)],
    )
    assert lineage(plan) == {"a": {"loans.t.a"}, "t": {"loans.t.b"}, "l": {"loans.t.b"}, "n": set()}


def test_a_window_is_of_its_function_and_not_of_its_partition_or_order() -> None:
    definition = expression("WindowSpecDefinition", attribute("a", 1), expression("SortOrder", attribute("a", 1)))
    windows = [
        alias("before", 3, expression("WindowExpression", expression("Lag", attribute("b", 2)), definition)),
        alias("n", 4, expression("WindowExpression", expression("RowNumber"), definition)),
    ]
    plan = tree("Window", T, windowExpressions=windows)
    assert lineage(plan) == {"a": {"loans.t.a"}, "b": {"loans.t.b"}, "before": {"loans.t.b"}, "n": set()}


def test_a_union_is_by_position() -> None:
    swapped = project(U, attribute("c", 12), attribute("a", 11))
    plan = project(tree("Union", T, swapped), attribute("b", 2), alias("x", 20, attribute("a", 1)))
    assert lineage(plan) == {"b": {"loans.t.b", "loans.u.a"}, "x": {"loans.t.a", "loans.u.c"}}


def test_above_a_union_its_ids_mean_both_children_and_below_it_only_one() -> None:
    both = project(
        tree("Union", project(T, attribute("a", 1)), project(U, attribute("c", 12))), alias("x", 20, attribute("a", 1))
    )
    assert lineage(join(both, T, "Inner")) == {"x": {"loans.t.a", "loans.u.c"}, "a": {"loans.t.a"}, "b": {"loans.t.b"}}


def test_a_join_has_the_columns_of_both_sides() -> None:
    renamed = project(U, attribute("a", 11), attribute("c", 12), alias("d", 13, attribute("a", 11)))
    plan = project(join(T, renamed, "LeftOuter"), attribute("a", 1), attribute("c", 12), attribute("d", 13))
    assert lineage(plan) == {"a": {"loans.t.a"}, "c": {"loans.u.c"}, "d": {"loans.u.a"}}


@pytest.mark.parametrize("how", ["LeftSemi", "LeftAnti"])
def test_the_other_side_of_a_semi_join_is_a_filter(how: str) -> None:
    assert lineage(join(T, U, how)) == lineage(T)


@pytest.mark.parametrize("kind", ["Except", "Intersect"])
def test_the_other_side_of_a_set_operation_is_a_filter(kind: str) -> None:
    assert lineage(tree(kind, T, U)) == lineage(T)


def test_columns_of_one_name_are_taken_together() -> None:
    assert lineage(join(T, U, "Inner")) == {"a": {"loans.t.a", "loans.u.a"}, "b": {"loans.t.b"}, "c": {"loans.u.c"}}


def test_fields_of_a_struct_stay_apart_through_aliases_and_unions() -> None:
    def packed(child: Plan, id: int, *columns: Plan) -> Plan:
        named = [part for column in columns for part in (literal(), column)]
        return project(child, alias("s", id, expression("CreateNamedStruct", *named)))

    def second(id: int) -> Plan:
        return alias("x", 50, expression("GetStructField", attribute("s", id), ordinal=1))

    one, two = (
        packed(T, 30, attribute("a", 1), attribute("b", 2)),
        packed(U, 31, attribute("a", 11), attribute("c", 12)),
    )
    shorter = packed(U, 32, attribute("c", 12))
    assert lineage(project(one, second(30))) == {"x": {"loans.t.b"}}
    assert lineage(project(tree("Union", one, two), second(30))) == {"x": {"loans.t.b", "loans.u.c"}}
    assert lineage(tree("Union", one, two)) == {"s": {"loans.t.a", "loans.t.b", "loans.u.a", "loans.u.c"}}
    # Fields that cannot be told apart are all of them.
    assert lineage(project(tree("Union", one, shorter), second(30))) == {"x": {"loans.t.a", "loans.t.b", "loans.u.c"}}
    assert lineage(project(T, alias("x", 3, expression("GetStructField", attribute("a", 1), ordinal=1)))) == {
        "x": {"loans.t.a"}
    }


def test_generated_rows_come_from_the_generator() -> None:
    generator = expression("Explode", attribute("b", 2))
    plan = tree("Generate", T, generator=generator, generatorOutput=[attribute("one", 3)])
    assert lineage(plan) == {"a": {"loans.t.a"}, "b": {"loans.t.b"}, "one": {"loans.t.b"}}


def test_a_subquery_is_of_its_result() -> None:
    subquery = expression("ScalarSubquery", plan=project(U, attribute("c", 12)))
    assert lineage(project(T, alias("x", 3, subquery))) == {"x": {"loans.u.c"}}


def test_an_unknown_operator_passes_on_what_it_is_given() -> None:
    assert lineage(tree("Wonder", T)) == lineage(T)


def test_what_an_unknown_operator_makes_may_come_from_all_it_is_given() -> None:
    assert lineage(tree("Wonder", T, output=[attribute("a", 1), attribute("new", 9)])) == {
        "a": {"loans.t.a"},
        "new": {"loans.t.a", "loans.t.b"},
    }


def test_a_column_of_unknown_origin_has_no_lineage() -> None:
    assert lineage(project(T, attribute("elsewhere", 99))) == {"elsewhere": set()}


def test_a_deep_plan_is_no_problem() -> None:
    deep = [{"class": f"{PLANS}.Filter", "num-children": 1}] * 5000 + T
    value = [{"class": f"{EXPRESSIONS}.Not", "num-children": 1}] * 5000 + attribute("a", 1)
    assert lineage(project(deep, alias("x", 3, value))) == {"x": {"loans.t.a"}}


def test_no_plan_has_no_columns() -> None:
    assert column_lineage([]) == {}
