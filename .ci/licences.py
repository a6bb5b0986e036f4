"""Fails where a dependency that is shipped has a licence that is not on the list: `licences.py REQUIREMENTS`.

REQUIREMENTS is `uv export` of the lock; what this machine installs of it is looked at, by its own metadata.
"""

import re
import sys
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement

ALLOWED = {
    "0BSD", "Apache-2.0", "Apache-2.0 WITH LLVM-exception", "BSD-2-Clause", "BSD-3-Clause", "CC0-1.0", "ISC", "MIT",
    "MIT-0", "MPL-2.0", "PSF-2.0", "Zlib",
}  # fmt: skip
# What was written before SPDX expressions were (PEP 639).
NAMES = {
    "3-Clause BSD License": "BSD-3-Clause",
    "Apache Software License": "Apache-2.0",
    "BSD License": "BSD-3-Clause",
    "ISC License (ISCL)": "ISC",
    "MIT License": "MIT",
    "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
    "Python Software Foundation License": "PSF-2.0",
}


def is_allowed(expression: str) -> bool:
    """Of an SPDX expression: all that AND joins are, and one of what OR joins."""
    while group := re.search(r"\(([^()]*)\)", expression):
        verdict = "MIT" if is_allowed(group[1]) else "refused"
        expression = expression[: group.start()] + verdict + expression[group.end() :]
    choices = re.split(r"\s+OR\s+", expression.strip())
    return any(all(each in ALLOWED for each in re.split(r"\s+AND\s+", choice)) for choice in choices)


def licence(name: str) -> str:
    """As an SPDX expression. Of several classifiers all must be allowed."""
    about = metadata.metadata(name)
    if expression := about.get("License-Expression"):
        return str(expression)
    classifiers = (
        each.rpartition(" :: ")[2] for each in about.get_all("Classifier", ()) if each.startswith("License")
    )
    named = [each for each in classifiers if each != "OSI Approved"]
    named = named or [(about.get("License") or "none").split("\n")[0]]
    return " AND ".join(NAMES.get(each, each) for each in named)


def main() -> None:
    lines = (line for line in Path(sys.argv[1]).read_text().splitlines() if re.match(r"\w", line))
    asked = [Requirement(line.rstrip("\\ ")) for line in lines]
    names = sorted({each.name for each in asked if each.marker is None or each.marker.evaluate()})
    refused = {name: said for name in names if not is_allowed(said := licence(name))}
    for name, said in refused.items():
        sys.stderr.write(f"{name}: {said} is not among the licences that are allowed\n")
    sys.stdout.write(f"{len(names)} dependencies, {len(refused)} refused\n")
    sys.exit(bool(refused))


if __name__ == "__main__":
    main()
