"""What `affirm replay` prints of one publish."""

from collections.abc import Iterator, Mapping

from affirm_assets.auditor.replay.run import Replayed, masked
from affirm_assets.declare.dataset import Dataset


def lines(dataset: Dataset, each: Replayed) -> Iterator[str]:
    found = each.comparison
    made = each.made_by.partition(":")[0]
    on = f"on {each.engine}" + ("" if made == each.engine else f", and not on {made} as when it was published")
    if found.is_same:
        what = f"the same {found.computed:,} rows"
    else:
        what = (
            f"other rows: {found.published:,} were published, {found.computed:,} are computed; "
            f"{found.differing:,} differ, {found.only_published:,} were only published, "
            f"{found.only_computed:,} are only computed"
        )
        if found.doubled:
            what += f", {found.doubled:,} keys are there again"
    yield f"{each.dataset} {each.window}: {what}, {on}, in {each.seconds:.1f} s"
    if each.code != each.code_now:
        effect = "changes no row" if found.is_same else "or what it runs with makes the difference"
        yield f"  published by code {each.code}; this is code {each.code_now}, which {effect}"
    for name, (then, now) in each.settings.items():
        yield f"  setting {name}: {then} then, {now} now"
    if found.columns:
        yield "  columns: " + ", ".join(f"{name} in {rows:,}" for name, rows in sorted(found.columns.items()) if rows)
    for one in found.examples:
        key = _said(masked(dataset, one.key) or {})
        if one.published is None or one.computed is None:
            yield f"  {key}: only {'computed' if one.published is None else 'published'}"
        else:
            published, computed = (_said(masked(dataset, side) or {}) for side in (one.published, one.computed))
            yield f"  {key}: {published}; computed {computed}"


def _said(values: Mapping[str, object]) -> str:
    return ", ".join(f"{name}={value}" for name, value in values.items())
