"""The rules of the house, read from the source tree: who may import whom, and how long a file may grow.

The arrows are drawn in docs/architecture.md, in lines such as ``cnn, layers ──> _network, _images``, and only there.
A *room* is a module or package directly below ``skconv``.
"""

import ast
import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "skconv"

# The package's face, its command line and its report on versions open every door; no room opens theirs.
ENTRANCES = {"__init__", "__main__", "_versions"}

SUFFIXES = (".py", ".pyx", ".pxd")
MODULES = sorted(path.relative_to(PACKAGE).as_posix() for path in PACKAGE.rglob("*") if path.suffix in SUFFIXES)
KERNELS = [module for module in MODULES if module.startswith("_engine/") and not module.endswith(".py")]


def read_arrows():
    """Return {room: rooms it may use} as drawn in docs/architecture.md."""
    arrows = {}
    for line in (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8").splitlines():
        drawn = re.fullmatch(r"([\w, ]+?) *──> *([\w, ]*?) *(\(.*\))?", line)
        if drawn:
            targets = {name.strip() for name in drawn[2].split(",")} - {""}
            arrows |= {name.strip(): targets for name in drawn[1].split(",")}
    return arrows


def room_of(module, package):
    """Return the room of a dotted path relative to skconv; what is no room is a name of skconv itself: __init__."""
    room = module.partition(".")[0]
    is_room = (package / room).is_dir() or any((package / f"{room}{suffix}").exists() for suffix in SUFFIXES)
    return room if room and is_room else "__init__"


def imported_modules(path, package):
    """Yield the dotted paths, relative to skconv, of everything of skconv that a source file imports or cimports."""
    here = ["skconv", *path.relative_to(package).parent.parts]
    for origin, names in import_statements(path):
        level = len(origin) - len(origin.lstrip("."))
        parts = here[: len(here) - level + 1] if level else []
        parts = parts + [part for part in origin.lstrip(".").split(".") if part]
        if parts[:1] == ["skconv"]:
            # "from . import name" may mean a module or an attribute: room_of looks which
            yield from (".".join(parts[1:] or [name]) for name in names or [""])


def import_statements(path):
    """Yield (module, names) of each import; names is empty for "import module"."""
    source = path.read_text(encoding="utf-8")
    if path.suffix == ".py":
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.ImportFrom):
                yield "." * node.level + (node.module or ""), [alias.name for alias in node.names]
            elif isinstance(node, ast.Import):
                yield from ((alias.name, []) for alias in node.names)
        return
    for origin, names in re.findall(r"^[ \t]*from +(\S+) +c?import +(\([^)]*\)|.*)", source, re.MULTILINE):
        yield origin, re.findall(r"(\w+)(?: +as +\w+)?", re.sub(r"#.*", "", names))
    for modules in re.findall(r"^[ \t]*c?import +([^#\n]*)", source, re.MULTILINE):
        yield from ((module.split()[0], []) for module in modules.split(","))


def top_level_imports(tree):
    """Yield the names of the distributions that a module imports when it is itself imported."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield "skconv" if node.level else node.module.partition(".")[0]
        elif not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            yield from top_level_imports(node)


@pytest.mark.parametrize(
    "module", [module for module in MODULES if Path(module).stem not in ENTRANCES or "/" in module]
)
def test_arrows_point_down(module):
    arrows = read_arrows()
    room = module.partition("/")[0].partition(".")[0]
    assert room in {*arrows, *set().union(*arrows.values())}, f"docs/architecture.md draws no arrow from or to {room}"
    used = {room_of(name, PACKAGE) for name in imported_modules(PACKAGE / module, PACKAGE)}
    assert used <= arrows.get(room, set()) | {room}


def test_arrows_form_no_circle():
    remaining = read_arrows()
    assert remaining
    while remaining:
        grounded = {room for room, targets in remaining.items() if not targets & remaining.keys()}
        assert grounded, f"the arrows between {sorted(remaining)} lead back to where they start"
        remaining = {room: targets for room, targets in remaining.items() if room not in grounded}


def test_imports_are_found(tmp_path):
    for folder in ("layers", "_engine"):
        (tmp_path / folder).mkdir()
    (tmp_path / "cnn.py").touch()
    source = tmp_path / "layers" / "dense.py"
    source.write_text(
        "import numpy\n"
        "import skconv._engine.tile\n"
        "from . import base\n"
        "from .. import cnn, _engine as engine\n"
        "from .. import show_versions\n"
        "from ..filters import kmeans\n"
        "def late():\n    from skconv.layers.base import Layer\n"
    )
    expected = ["_engine.tile", "layers", "cnn", "_engine", "show_versions", "filters", "layers.base"]
    assert sorted(imported_modules(source, tmp_path)) == sorted(expected)
    assert room_of("cnn", tmp_path) == "cnn"
    assert room_of("layers.base", tmp_path) == "layers"
    assert room_of("show_versions", tmp_path) == "__init__"
    assert set(top_level_imports(ast.parse(source.read_text()))) == {"numpy", "skconv"}

    kernel = tmp_path / "_engine" / "pooling.pyx"
    kernel.write_text(
        "from libc.math cimport exp\n"
        "cimport cython\n"
        "from . cimport tile\n"
        "from .windows cimport (\n    offset,  # (K,)\n    size,\n)\n"
        "from .._geometry import output_size as size\n"
        "import skconv.cnn\n"
    )
    assert sorted(set(imported_modules(kernel, tmp_path))) == ["_engine", "_engine.windows", "_geometry", "cnn"]


@pytest.mark.parametrize("module", [module for module in MODULES if module.endswith(".py")])
def test_optional_dependencies_are_imported_inside_functions(module):
    imported = set(top_level_imports(ast.parse((PACKAGE / module).read_text(encoding="utf-8"))))
    assert imported <= {"numpy", "scipy", "sklearn", "skconv", *sys.stdlib_module_names}


@pytest.mark.parametrize("folder", ["skconv", "tests"])
def test_files_are_short(folder):
    sources = [path for path in (ROOT / folder).rglob("*") if path.suffix in {*SUFFIXES, ".h"}]
    assert sources
    lengths = {path.name: len(path.read_text(encoding="utf-8").splitlines()) for path in sources}
    assert {name: length for name, length in lengths.items() if length > 600} == {}


@pytest.mark.parametrize("kernel", KERNELS)
def test_indices_are_py_ssize_t(kernel):
    # A 32-bit index overflows beyond 2**31 elements, which a few thousand photographs reach.
    code = re.sub(r"#.*", "", (PACKAGE / kernel).read_text(encoding="utf-8"))
    declared = re.findall(r"\b(?:int|long|short|unsigned|int32_t)\s+((?:\w+\s*(?:=[^,\n]*)?,\s*)*\w+)", code)
    names = {name for group in declared for name in re.findall(r"(\w+)(?:\s*=[^,]*)?(?:,|$)", group)}
    assert not names & set("ijklmnhwcf")


def test_linters_are_pinned_alike():
    hooks = (ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8")
    pinned = re.findall(r"/([\w-]+?)(?:-pre-commit)?\n +rev: v([\d.]+)", hooks)
    assert {name for name, _ in pinned} == {"ruff", "cython-lint", "codespell"}
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    for name, version in pinned:
        assert f'"{name}=={version}"' in project
