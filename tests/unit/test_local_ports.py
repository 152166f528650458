"""The ports of a stack."""

from __future__ import annotations

import json
import socket
from pathlib import Path

from infra.local import ports
from infra.local.plan import Options
from infra.local.stack import _ports_for

NAMES = ["api", "storage", "pubsub"]


def test_they_are_those_it_had_before_as_far_as_they_are_free(tmp_path: Path) -> None:
    options = Options(state_dir=tmp_path)
    first = _ports_for(NAMES, options)
    assert _ports_for([*NAMES, "tmdb"], options).items() >= first.items()
    with socket.create_server(("127.0.0.1", first["api"])):
        again = _ports_for(NAMES, options)
    assert again["api"] != first["api"]
    assert (again["storage"], again["pubsub"]) == (first["storage"], first["pubsub"])
    assert len({*again.values()}) == 3


def test_nonsense_in_the_file_is_passed_over(tmp_path: Path) -> None:
    for text in ("", "[]", "null", '{"api": "x"}', '{"api": 0}', '{"api": 70000}'):
        (tmp_path / "ports.json").write_text(text)
        found = _ports_for(NAMES, Options(state_dir=tmp_path))
        assert all(ports._FIRST <= port < ports._LAST for port in found.values())
        assert json.loads((tmp_path / "ports.json").read_text()) == found


def test_a_base_that_is_asked_for_counts_more(tmp_path: Path) -> None:
    _ports_for(NAMES, Options(state_dir=tmp_path))
    (base,) = ports.choose(1)
    free = all(ports.is_free(base + i) for i in range(3))
    if free:
        assert list(_ports_for(NAMES, Options(state_dir=tmp_path, port_base=base)).values()) == [
            base,
            base + 1,
            base + 2,
        ]
