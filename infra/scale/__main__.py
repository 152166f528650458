"""`make simulate`: what runs of any size take and cost. With --write the tables go into the papers that hold them."""

from __future__ import annotations

import sys

from infra.scale.papers import Papers, write


def main() -> None:
    """Print every table, or put it in its paper."""
    tables = Papers().tables()
    if "--write" in sys.argv[1:]:
        write(tables)
        return
    for paper, made in tables.items():
        print(f"# {paper}\n")
        for name, table in made.items():
            print(f"## {name}\n\n{table}\n")


main()
