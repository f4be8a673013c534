"""Imports point down, and each outside library is imported by one place: the table of the design, held."""

import ast
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

from llmhost.providers import PROVIDERS

ROOT = Path(__file__).parent.parent / 'llmhost'

LEAVES = {'errors', 'config'}
BLOCKS = {'schemas', 'storage', 'metrics', 'logs', 'redaction'}
DIALECTS = {'providers'}
LINES = {'upstream'}
OVER_LINES = {'hostlink', 'leases', 'weights'}
USE_CASES = {'gateway'}
WIRING = {'services'}
EDGES = {'api', 'cli'}
FACE = {'app', 'serving', 'gunicorn_conf', 'gunicorn_worker'}

MAY_IMPORT: dict[str, set[str]] = {
    'errors': set(),
    'config': {'errors'},
    **dict.fromkeys(BLOCKS, LEAVES),
    **dict.fromkeys(DIALECTS, LEAVES),
    **dict.fromkeys(LINES, LEAVES | BLOCKS),
    **dict.fromkeys(OVER_LINES, LEAVES | BLOCKS | LINES),
    **dict.fromkeys(USE_CASES, LEAVES | BLOCKS | DIALECTS | LINES | OVER_LINES),
    **dict.fromkeys(WIRING, LEAVES | BLOCKS | DIALECTS | LINES | OVER_LINES | USE_CASES),
    **dict.fromkeys(EDGES, {'errors', 'schemas'} | WIRING),
    **dict.fromkeys(FACE, LEAVES | BLOCKS | DIALECTS | LINES | OVER_LINES | USE_CASES | WIRING | EDGES | FACE),
    'host': LEAVES | BLOCKS | DIALECTS,
}
MAY_IMPORT_LATER = {'app': {'host'}, 'serving': {'host'}}
"""Inside a function, where start-up would pay for it."""

PLACES: dict[str, set[str]] = {
    'flask': {'api', 'cli', 'app'},
    'werkzeug': {'api', 'cli', 'app'},
    'requests': {'upstream'},
    'certifi': {'upstream'},
    'httptools': {'upstream'},
    'marshmallow': {'schemas'},
    'filelock': {'storage'},
    'prometheus_client': {'metrics', 'serving'},
    'gevent': {'api/departures', 'gunicorn_worker'},
    'dotenv': {'config'},
    'platformdirs': {'config'},
    **dict.fromkeys(('asyncio', 'uvicorn', 'starlette', 'httpx2', 'anyio', 'mcp', 'xllamacpp'), {'host'}),
}
READ_ENVIRONMENT = {'config', 'serving', 'cli/up'}
"""The settings; what gunicorn's own settings come from; and what hands the whole of it on to gunicorn."""
FREE = {'orjson', 'click', 'gunicorn'}
"""What several places may have: a format, the console's words, and the server that runs both app and host."""


@dataclass(frozen=True)
class Import:
    """`module` is imported by the file at `path`; `later` is inside a function, `typing_only` under TYPE_CHECKING."""

    path: Path
    line: int
    module: str
    later: bool
    typing_only: bool

    @property
    def importer(self) -> str:
        return unit_of(self.path)

    @property
    def is_own(self) -> bool:
        return self.module.partition('.')[0] == ROOT.name

    @property
    def imported(self) -> str:
        """The unit of ours, or the outside package."""
        parts = self.module.split('.')
        return parts[1] if self.is_own and len(parts) > 1 else parts[0]

    def __str__(self) -> str:
        return f'{self.path.relative_to(ROOT.parent)}:{self.line} imports {self.module}'


def unit_of(path: Path) -> str:
    """The package or module right under llmhost that a file belongs to."""
    return path.relative_to(ROOT).parts[0].removesuffix('.py')


def path_of(path: Path) -> str:
    """A file's path under llmhost, without its suffix."""
    return str(path.relative_to(ROOT).with_suffix(''))


def files() -> list[Path]:
    return sorted(ROOT.rglob('*.py'))


def iter_imports(path: Path) -> Iterator[Import]:
    yield from walk(ast.parse(path.read_text()), path, False, False)


def walk(node: ast.AST, path: Path, later: bool, typing_only: bool) -> Iterator[Import]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            yield from (Import(path, child.lineno, name.name, later, typing_only) for name in child.names)
        elif isinstance(child, ast.ImportFrom):
            assert child.level == 0, f'{path}:{child.lineno}: a relative import'
            yield from (Import(path, child.lineno, module, later, typing_only) for module in modules_of(child))
        elif isinstance(child, ast.If) and 'TYPE_CHECKING' in ast.dump(child.test):
            yield from walk(child, path, later, True)
        else:
            yield from walk(child, path, later or isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef), typing_only)


def modules_of(node: ast.ImportFrom) -> set[str]:
    """The modules of `from a import b`: `a.b` where that is a module of ours, else `a`."""
    package = node.module or ''
    return {f'{package}.{name.name}' if is_module(f'{package}.{name.name}') else package for name in node.names}


@cache
def is_module(name: str) -> bool:
    path = ROOT.parent.joinpath(*name.split('.'))
    return path.with_suffix('.py').is_file() or (path / '__init__.py').is_file()


IMPORTS = [found for path in files() for found in iter_imports(path)]


def test_every_module_has_its_layer():
    assert {unit_of(path) for path in files()} - {'__init__'} == set(MAY_IMPORT)


@pytest.mark.parametrize('unit', sorted(MAY_IMPORT))
def test_imports_point_down(unit):
    allowed = MAY_IMPORT[unit] | {unit, ROOT.name}
    wrong = [
        str(found) for found in IMPORTS
        if found.importer == unit and found.is_own and found.imported not in allowed
        and not (found.later and found.imported in MAY_IMPORT_LATER.get(unit, ()))
    ]
    assert not wrong


def test_no_import_stands_in_a_function_unless_it_says_why():
    silent = []
    for found in IMPORTS:
        lines = found.path.read_text().splitlines()[:found.line]
        if found.later and '#' not in lines[-1] and '#' not in lines[-2]:
            silent.append(str(found))
    assert not silent


def test_modules_import_each_other_in_no_circle():
    graph: dict[str, set[str]] = {}
    for found in IMPORTS:
        if found.is_own and not found.later and not found.typing_only:
            graph.setdefault(name_of(found.path), set()).add(found.module)
    for module in graph:
        assert module not in reach(graph, module), f'{module} imports itself in a circle'


def name_of(path: Path) -> str:
    return '.'.join(path.relative_to(ROOT.parent).with_suffix('').parts).removesuffix('.__init__')


def reach(graph: dict[str, set[str]], start: str) -> set[str]:
    """All that is imported from `start` on."""
    found: set[str] = set()
    waiting = list(graph.get(start, ()))
    while waiting:
        module = waiting.pop()
        if module not in found:
            found.add(module)
            waiting.extend(graph.get(module, ()))
    return found


@pytest.mark.parametrize('library', sorted(PLACES))
def test_library_is_imported_by_its_one_place(library):
    wrong = [
        str(found) for found in IMPORTS
        if found.module.partition('.')[0] == library
        and not {found.importer, path_of(found.path)} & PLACES[library]
    ]
    assert not wrong


def test_every_outside_library_has_its_place():
    outside = {found.imported for found in IMPORTS if not found.is_own}
    assert outside - set(sys.stdlib_module_names) - set(PLACES) == FREE


def test_dialects_open_no_socket_and_read_no_file():
    banned = {'socket', 'ssl', 'http', 'urllib.request', 'subprocess', 'os', 'pathlib', 'threading', 'logging'}
    assert not [str(found) for found in IMPORTS if found.importer == 'providers' and found.module in banned]


def test_environment_is_read_by_the_configuration_alone():
    wrong = []
    for path in files():
        if path_of(path) in READ_ENVIRONMENT:
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Attribute) and node.attr in ('environ', 'getenv') and ast.unparse(node.value) == 'os':
                wrong.append(f'{path.relative_to(ROOT.parent)}:{node.lineno}')
    assert not wrong


def test_name_of_a_provider_is_compared_in_its_own_package_alone():
    wrong = []
    for path in files():
        if unit_of(path) == 'providers':
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if names_a_provider(node):
                wrong.append(f'{path.relative_to(ROOT.parent)}:{node.lineno}: {ast.unparse(node)}')
    assert not wrong


def names_a_provider(node: ast.AST) -> bool:
    """Whether it is a comparison with a provider's name, or a `match` for one."""
    if isinstance(node, ast.Compare):
        operands = [node.left, *node.comparators]
    elif isinstance(node, ast.MatchValue):
        operands = [node.value]
    else:
        return False
    strings = {part.value for operand in operands for part in ast.walk(operand) if isinstance(part, ast.Constant)}
    return bool(strings & set(PROVIDERS))
