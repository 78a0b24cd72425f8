"""What tests share lives in tests/support, or beside the tests of the one folder that share it."""

import ast
from collections.abc import Iterator
from importlib.util import resolve_name
from pathlib import Path

from tests.support.forks import ROOT


def imports(path: Path) -> Iterator[str]:
    package = ".".join(path.parent.relative_to(ROOT).parts)
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.ImportFrom):
            module = resolve_name("." * node.level + (node.module or ""), package)
            yield from (module, *(f"{module}.{alias.name}" for alias in node.names))
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


def is_shared(module: str, *, with_folder: Path) -> bool:
    if not module.startswith("tests."):
        return True
    folder, _, name = module.removeprefix("tests.").rpartition(".")
    file = ROOT / "tests" / folder.replace(".", "/") / f"{name}.py"
    if not file.is_file():
        return True  # a package, or a name in a module, which is looked at by itself
    if file.stem == "conftest" or file.stem.startswith("test_"):
        return False
    return file.parent in (ROOT / "tests/support", with_folder)


def test_no_module_imports_a_test_module_or_the_helpers_of_another_folder() -> None:
    private = [
        f"{path.relative_to(ROOT)} imports {module}: move what is shared to tests/support"
        for folder in ("tests", "bench", "tools")
        for path in sorted((ROOT / folder).rglob("*.py"))
        for module in imports(path)
        if not is_shared(module, with_folder=path.parent)
    ]

    assert private == []
