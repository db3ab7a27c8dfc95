"""What `affirm verify` prints."""

from collections.abc import Iterator

from affirm_assets.auditor.verify.run import Found, Verified


def lines(verified: Verified, seconds: float, peak_mib: float) -> Iterator[str]:
    """Each figure and identity with its source, what was expected and what was found; where it fails, what is wrong."""
    titles = {"figure": "Published figures", "identity": f"The books of {verified.first}...{verified.last}"}
    for kind, title in titles.items():
        yield title
        for each in verified.found:
            if each.kind == kind:
                yield f"{'ok  ' if each.passed else 'FAIL'}  {each.name}"
                yield f"      {each.source}: expected {each.expected}, found {each.found}"
                yield from _wrong(each)
        yield ""
    held = sum(each.passed for each in verified.found)
    yield (
        f"{held} of {len(verified.found)} hold. {verified.rows:,} rows in {seconds:.0f} s, "
        f"{verified.rows / max(seconds, 0.001):,.0f} a second; at most {peak_mib:,.0f} MiB of memory."
    )


def _wrong(each: Found) -> Iterator[str]:
    for one in each.wrong:
        yield f"      - {one}"
    if each.wrong and each.failed > len(each.wrong):
        yield f"      - and {each.failed - len(each.wrong):,} more"
