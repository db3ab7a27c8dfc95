"""The Makefile's verbs."""

import os
import re
import subprocess
from pathlib import Path

import affirm_assets

ROOT = Path(affirm_assets.__file__).parents[1]
MAKEFILE = (ROOT / "Makefile").read_text()
DESCRIBED = dict(re.findall(r"^([^\s:#=]+):[^=\n]*?## (.*)$", MAKEFILE, re.MULTILINE))


def test_bare_make_lists_every_verb_with_its_description() -> None:
    assert DESCRIBED
    assert listed() == DESCRIBED


def test_every_verb_is_described() -> None:
    (phony,) = re.findall(r"^\.PHONY: (.*)$", MAKEFILE, re.MULTILINE)
    assert set(phony.split()) - {"ready"} == set(DESCRIBED)  # what others need, not a verb


def listed() -> dict[str, str]:
    # Under `make test` a make of its own would be told that it is a part of that one.
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
    printed = subprocess.run(["make"], cwd=ROOT, env=environment, capture_output=True, text=True, check=True).stdout
    lines = [re.fullmatch(r" *make (\S+) +(\S.*)", line) for line in printed.splitlines()]
    assert None not in lines, printed
    return {line[1]: line[2] for line in lines if line}
