"""Which steps leave nothing behind in the process that they ran in, as their source alone shows.

After one of these, a process is as it was before, and may run the next attempt. Whatever is not known to be harmless
counts as harmful: the step then has a process to itself, which is how all attempts ran at first. A program's own
modules are made anew for each attempt, so what it does to its globals, classes and functions is gone with them. What is
looked for here are ways to anything else: to a file, a process, the interpreter, or an object of a library's.
"""

from __future__ import annotations

import ast
import builtins
from collections.abc import Iterable, Iterator, Mapping
from typing import TypeGuard

from penstock.harness import belongs, trimmed
from penstock.spec import ModuleSource, StepSpec


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


def _names_by_module(text: str) -> dict[str, frozenset[str]]:
    """The names on lines that begin with that of their module, which may have several."""
    found: dict[str, frozenset[str]] = {}
    for module, *names in map(str.split, text.strip().splitlines()):
        found[module] = found.get(module, frozenset()) | {*names}
    return found


# What may be taken from a module. Left out is all that changes an object that it is given (`functools.update_wrapper`,
# `typing.overload`), that finds attributes by text (`operator.attrgetter`), or whose module remembers (`decimal`).
HARMLESS = _names_by_module("""
    __future__ annotations
    bisect bisect bisect_left bisect_right insort insort_left insort_right
    collections ChainMap Counter OrderedDict defaultdict deque namedtuple
    collections.abc Callable Collection Iterable Iterator Mapping MutableMapping MutableSequence Sequence Set
    copy copy deepcopy
    dataclasses asdict astuple field fields replace
    datetime UTC date datetime time timedelta timezone
    enum Enum Flag IntEnum IntFlag StrEnum auto
    fractions Fraction
    functools cache cmp_to_key lru_cache partial reduce
    hashlib blake2b blake2s md5 sha1 sha224 sha256 sha384 sha3_256 sha3_512 sha512
    heapq heapify heappop heappush heappushpop heapreplace merge nlargest nsmallest
    itertools accumulate batched chain combinations combinations_with_replacement compress count cycle dropwhile
    itertools filterfalse groupby islice pairwise permutations product repeat starmap takewhile tee zip_longest
    json JSONDecodeError dumps loads
    math acos asin atan atan2 cbrt ceil comb copysign cos cosh degrees dist e erf erfc exp expm1 fabs factorial floor
    math fmod frexp fsum gamma gcd hypot inf isclose isfinite isinf isnan isqrt lcm ldexp lgamma log log10 log1p log2
    math modf nan perm pi pow prod radians remainder sin sinh sqrt tan tanh tau trunc
    operator add and_ contains eq floordiv ge getitem gt itemgetter le lt mod mul ne neg not_ or_ pow sub truediv xor
    penstock Classification Dataset Markdown Metrics Model Report RunStatus Serializer current_attempt log_metadata
    penstock log_metric
    re A ASCII DOTALL I IGNORECASE M MULTILINE Match Pattern S VERBOSE X compile error escape findall finditer
    re fullmatch match search split sub subn
    statistics correlation covariance fmean geometric_mean harmonic_mean linear_regression mean median median_high
    statistics median_low mode multimode pstdev pvariance quantiles stdev variance
    string ascii_letters ascii_lowercase ascii_uppercase digits hexdigits octdigits printable punctuation whitespace
    textwrap dedent fill indent shorten wrap
    time monotonic perf_counter sleep time time_ns
    typing Annotated Any Callable ClassVar Dict Final FrozenSet Generic Iterable Iterator List Literal Mapping
    typing NamedTuple Optional Protocol Sequence Set Tuple Type TypeAlias TypeVar TypedDict Union cast
    uuid NAMESPACE_DNS NAMESPACE_OID NAMESPACE_URL UUID uuid4 uuid5
""")
# What changes that which it is given: of use above a definition alone, which is the program's own.
DECORATORS = _names_by_module("""
    dataclasses dataclass
    enum unique
    functools cached_property total_ordering wraps
""")
# Also left out: `type`, for a class of classes may have a say in how libraries look up their own.
BUILTINS = _words("""
    Ellipsis NotImplemented abs all any ascii bin bool bytearray bytes callable chr classmethod complex dict divmod
    enumerate filter float format frozenset hash hex int isinstance issubclass iter len list map max memoryview min next
    object oct ord pow print property range repr reversed round set slice sorted staticmethod str sum super tuple zip
""") | {name for name, value in vars(builtins).items() if isinstance(value, type) and issubclass(value, Exception)}
# Special methods that nobody calls but who has an object of the class; not so `__del__` and `__subclasshook__`.
METHODS = _words("""
    __abs__ __add__ __bool__ __call__ __contains__ __eq__ __float__ __format__ __ge__ __getitem__ __gt__ __hash__
    __init__ __int__ __iter__ __le__ __len__ __lt__ __mod__ __mul__ __ne__ __neg__ __next__ __post_init__ __pow__
    __radd__ __repr__ __rmul__ __rsub__ __str__ __sub__ __truediv__
""")
SUSPENDING = (ast.Yield, ast.YieldFrom, ast.Await, ast.AsyncFunctionDef, ast.AsyncFor, ast.AsyncWith)
# `register` changes abstract classes of Python's; texts that format values find attributes of these by themselves.
ATTRIBUTES = frozenset({"format", "format_map", "register"})
IMPORTS = (ast.Import, ast.ImportFrom)
DEFINITIONS = (ast.FunctionDef, ast.ClassDef)


def leaves_none(step: StepSpec, modules: Iterable[ModuleSource]) -> bool:
    """Whether an attempt at a step can have changed nothing that outlives its modules."""
    reach = {each.module: set(each.names) for each in step.reach}
    try:
        program = [
            trimmed(statement, reach[module.name])
            for module in modules
            if module.name in reach
            for piece in module.statements
            for statement in ast.parse(piece.source).body
            if belongs(statement, reach[module.name])
        ]
    except SyntaxError:  # the attempt itself will say what is wrong
        return False
    return is_harmless([node for statement in program for node in ast.walk(statement)], set(reach))


def is_harmless(nodes: Iterable[ast.AST], own: set[str]) -> bool:
    """Whether all of a program is known to be harmless; ``own`` names the modules that it consists of.

    A name means the same here in all of its modules and scopes: what it is in one of them counts everywhere.
    """
    nodes = list(nodes)
    imported = list(_imported(nodes))
    libraries = {name: module for name, module, part in imported if not part}
    decorating = {name for name, module, part in imported if part in DECORATORS.get(module, ())}
    for name, module, part in imported:
        if module in own:
            is_known = name == part and name not in libraries
        elif part:
            is_known = part in HARMLESS.get(module, ()) or part in DECORATORS.get(module, ())
        else:
            is_known = module in HARMLESS and libraries[name] == module
        if not is_known or f"{module}.{part}" in own or name.startswith("__"):  # it may import a `__builtins__`
            return False
    allowed = set(_decorating(nodes, libraries, decorating)) | set(_taken(nodes, libraries))
    restricted = libraries.keys() | decorating
    return all(id(node) in allowed or _is_plain(node, restricted) for node in nodes)


def _imported(nodes: Iterable[ast.AST]) -> Iterator[tuple[str, str, str]]:
    """What imports bind: the name, the module, and which part of it that is (empty for the module)."""
    for node in nodes:
        if isinstance(node, ast.Import):
            for alias in node.names:
                top = alias.name.partition(".")[0]
                yield (alias.asname, alias.name, "") if alias.asname else (top, top, "")
        elif isinstance(node, ast.ImportFrom):
            module = "." * node.level + (node.module or "")
            yield from ((alias.asname or alias.name, module, alias.name) for alias in node.names)


def _decorating(nodes: Iterable[ast.AST], libraries: Mapping[str, str], decorating: set[str]) -> Iterator[int]:
    """The nodes that are a known decorator above a definition, and nothing else."""
    for node in nodes:
        for each in node.decorator_list if isinstance(node, DEFINITIONS) else ():
            decorator = each.func if isinstance(each, ast.Call) else each
            if isinstance(decorator, ast.Name) and decorator.id in decorating:
                yield id(decorator)
            elif _is_part(decorator, libraries, DECORATORS):
                yield from map(id, (decorator, decorator.value))


def _taken(nodes: Iterable[ast.AST], libraries: Mapping[str, str]) -> Iterator[int]:
    """The names of libraries of which something harmless is taken, as in ``math.pi``: of use for nothing else."""
    return (id(node.value) for node in nodes if _is_part(node, libraries, HARMLESS))


def _is_part(
    node: ast.AST, libraries: Mapping[str, str], known: Mapping[str, frozenset[str]]
) -> TypeGuard[ast.Attribute]:
    """Whether it is a known part of a library: ``math.pi``."""
    if not (isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name)):
        return False
    return node.attr in known.get(libraries.get(node.value.id, ""), ())


def _is_plain(node: ast.AST, restricted: Iterable[str]) -> bool:
    """Whether a node does nothing that could reach beyond the program."""
    if isinstance(node, ast.Name):
        is_known = node.id in BUILTINS or not hasattr(builtins, node.id)
        return is_known and not node.id.startswith("__") and node.id not in restricted
    if isinstance(node, ast.Attribute):
        is_known = not node.attr.startswith(("_", "gi_")) and node.attr not in ATTRIBUTES
        return is_known and isinstance(node.ctx, ast.Load)
    if isinstance(node, ast.MatchClass):
        return not any(name.startswith("_") for name in node.kwd_attrs)
    if isinstance(node, ast.FunctionDef):
        return not node.name.startswith("__") or node.name in METHODS
    if isinstance(node, ast.ClassDef):
        # What a class imports could be had as its attribute.
        return not node.keywords and not any(isinstance(each, IMPORTS) for each in ast.walk(node))
    return not isinstance(node, SUSPENDING)
