"""A statement as text, as JSON and as a page."""

import json
from collections.abc import Iterator, Sequence
from datetime import date, datetime
from decimal import Decimal
from html import escape
from typing import Any

from rich.console import Console, RenderableType
from rich.table import Table

from affirm_assets.auditor.explain.statement import STATE, Entry, Movement, Statement, chart_of

Cells = Sequence[Sequence[str]]
Section = tuple[str, Sequence[str], Cells, int]
"""A title, the columns, the cells, and from which column on they are numbers."""


def sections(said: Statement) -> Iterator[Section]:
    """What a statement shows, in order, as text."""
    yield (
        "Terms",
        ("", ""),
        [(_words(name), _text(value)) for name, value in said.terms.items() if value is not None],
        9,
    )
    last = said.last
    state = [(_words(name), _text(last[name])) for name in STATE if last[name] is not None]
    yield f"At the end of {last['as_of']}", ("", ""), state, 9
    columns: Sequence[str] = ("number", "due on", "payment", "interest", "principal", "balance")
    schedule = [[_text(each[name.replace(" ", "_")]) for name in columns] for each in said.schedule]
    yield "Schedule", columns, schedule, 2
    columns = ("day", "movement", "posting", "amount", "principal", "interest", "credit", "days past due")
    yield "Movements", columns, [_cells(each) for each in said.movements], 3
    columns = ("table", "days", "snapshot", "run", "at (UTC)", "engine", "code")
    lineage = [
        (
            each.table,
            str(each.days),
            str(each.snapshot),
            each.run_id,
            f"{each.at:%Y-%m-%d %H:%M:%S}",
            (each.engine or "not known any more").partition(":")[0],
            each.code_version,
        )
        for each in said.lineage
    ]
    yield "What the rows were made by", columns, lineage, 9


def notes(said: Statement) -> Iterator[str]:
    if said.last["as_of"] != said.as_of:
        yield (
            f"The loan is {said.last['status']}, settled since {said.last['settled_on']}, and its daily rows have "
            f"ended: its last is of {said.last['as_of']}."
        )
    for day in said.differs:
        yield f"{day}: the postings do not leave what the balance says. Run affirm verify."
    changed = sorted({(each.table, one) for each in said.lineage for one in each.changed_by_others})
    for table, snapshot in changed:
        yield f"{table}: snapshot {snapshot} is not of this platform. It may have changed any row shown."


def title(said: Statement) -> str:
    then = f", as the books said after run {said.run_id}" if said.run_id else ""
    return f"Loan {said.loan_id} as of {said.as_of}{then}"


def show(console: Console, said: Statement) -> None:
    console.print(title(said))
    for name, columns, cells, numbers_from in sections(said):
        console.print(f"\n{name}")
        console.print(_table(columns, cells, numbers_from))
    console.print()
    for note in notes(said):
        console.print(note)


def as_json(said: Statement) -> str:
    """Amounts are text with two places, dates YYYY-MM-DD."""
    value = {
        "loan_id": said.loan_id,
        "as_of": said.as_of,
        "run_id": said.run_id,
        "terms": said.terms,
        "balance": said.last,
        "schedule": said.schedule,
        "movements": [
            {**vars(each), "posting": [{"account": account, "debit": moved} for account, moved in each.posting]}
            for each in said.movements
        ],
        "lineage": [{**vars(each), "days": str(each.days)} for each in said.lineage],
        "differs": said.differs,
        "files_read": said.files,
    }
    return json.dumps(value, indent=2, default=_as_text)


def as_html(said: Statement) -> str:
    """A page that needs nothing beside itself."""
    parts = [f"<h1>{escape(title(said))}</h1>", *(f"<p class=note>{escape(note)}</p>" for note in notes(said))]
    for name, columns, cells, numbers_from in sections(said):
        parts.append(f"<h2>{escape(name)}</h2>")
        if name == "Movements":
            parts.append(_svg(chart_of(said.balances)))
        head = "".join(f"<th>{escape(each)}</th>" for each in columns)
        rows = (
            "".join(f"<td{' class=n' if at >= numbers_from else ''}>{escape(text)}</td>" for at, text in enumerate(row))
            for row in cells
        )
        body = "".join(f"<tr>{row}</tr>" for row in rows)
        parts.append(f"<div><table>{f'<tr>{head}</tr>' if any(columns) else ''}{body}</table></div>")
    page = "\n".join(parts)
    return (
        f"<!doctype html>\n<html lang=en><head><meta charset=utf-8><title>{escape(title(said))}</title>"
        f"<style>{_STYLE}</style></head><body>\n{page}\n</body></html>\n"
    )


_STYLE = (
    "body{font:14px/1.4 system-ui,sans-serif;margin:2em auto;max-width:75em;padding:0 1em;color:#222}"
    "h1{font-size:1.4em}h2{font-size:1.1em;margin-top:2em}div{overflow-x:auto}table{border-collapse:collapse}"
    "td,th{padding:.2em .8em .2em 0;text-align:left;vertical-align:top;border-bottom:1px solid #ddd}"
    ".n{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}.note{color:#a40000}svg{width:100%}"
)

_WIDTH, _HEIGHT, _LEFT, _BOTTOM = 900, 240, 80, 30


def _svg(points: Sequence[tuple[date, Decimal]]) -> str:
    """What is owed at the end of each day, as steps."""
    most = max((owed for _, owed in points), default=Decimal(0)) or Decimal(1)
    first, last = points[0][0], points[-1][0]
    days = max((last - first).days, 1)

    def at(day: date, owed: Decimal) -> tuple[str, str]:
        x = _LEFT + Decimal((_WIDTH - _LEFT - 10) * (day - first).days) / days
        y = 10 + (_HEIGHT - _BOTTOM - 10) * (1 - owed / most)
        return f"{x:.1f}", f"{y:.1f}"

    path = ""
    for day, owed in points:
        x, y = at(day, owed)
        path += f"H{x}V{y}" if path else f"M{x},{y}"
    if len(points) == 1:
        path += f"H{_WIDTH - 10}"
    bottom = _HEIGHT - _BOTTOM
    labels = (
        f'<text x="{_LEFT - 6}" y="14" text-anchor="end">{most:,.2f}</text>'
        f'<text x="{_LEFT - 6}" y="{bottom}" text-anchor="end">0.00</text>'
        f'<text x="{_LEFT}" y="{_HEIGHT - 10}">{first}</text>'
        f'<text x="{_WIDTH - 10}" y="{_HEIGHT - 10}" text-anchor="end">{last}</text>'
    )
    return (
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="What is owed at the end of each day" '
        f'font-size="12"><path d="M{_LEFT},10V{bottom}H{_WIDTH - 10}" fill="none" stroke="#999"/>'
        f'<path d="{path}" fill="none" stroke="#0b5cad" stroke-width="2"/>{labels}</svg>'
    )


def _table(columns: Sequence[str], cells: Cells, numbers_from: int) -> RenderableType:
    table = Table(box=None, pad_edge=False, show_header=any(columns))
    for at, name in enumerate(columns):
        table.add_column(name, justify="right" if at >= numbers_from else "left", overflow="fold")
    for row in cells:
        table.add_row(*row)
    return table


def _cells(each: Movement) -> Sequence[str]:
    day = f"{each.last}" if each.first == each.last else f"{each.first}...{each.last}"
    said = [f"{_words(each.kind)}{f' {each.what}' if each.what else ''}"]
    if each.effective_on:
        said.append(f"effective {each.effective_on}")
    if each.waited_since:
        said.append(f"waited in suspense since {each.waited_since}")
    if each.note:
        said.append(each.note)
    return (
        day,
        ", ".join(said),
        posting_text(each.posting),
        "" if each.amount is None else _text(each.amount),
        _text(each.principal),
        _text(each.interest),
        _text(each.credit),
        "" if each.days_past_due is None else str(each.days_past_due),
    )


def posting_text(posting: Sequence[Entry]) -> str:
    """Dr cash 1.00, Cr principal_receivable 1.00"""
    return ", ".join(f"{'Dr' if moved > 0 else 'Cr'} {account} {abs(moved):,.2f}" for account, moved in posting)


def _words(name: str) -> str:
    return name.replace("_", " ")


def _text(value: Any) -> str:
    return f"{value:,}" if isinstance(value, Decimal) else str(value)


def _as_text(value: Any) -> str:
    return value.isoformat() if isinstance(value, date | datetime) else str(value)
