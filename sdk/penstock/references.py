"""What a statement refers to outside itself, by Python's scoping rules and its syntax alone."""

from __future__ import annotations

import ast
import contextlib
import functools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from penstock.harness import bound_names, never_holds, running

# Methods that report; what they are called on stays as it is.
REPORTING = frozenset(("critical", "debug", "error", "exception", "info", "log", "warning"))

_Function = (ast.FunctionDef, ast.AsyncFunctionDef)
_Comprehension = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)


@dataclass(frozen=True)
class Imported:
    """One name of an import statement.

    ``binds`` is the name it binds, which stands for attribute ``attr`` of ``module`` or, without ``attr``, for
    ``module`` itself. ``loads`` is the module that importing loads: ``import a.b`` loads ``a.b`` and binds ``a``. Both
    begin ``level`` packages up, as dots do.
    """

    binds: str
    module: str
    attr: str
    loads: str
    level: int
    node: ast.Import | ast.ImportFrom

    @property
    def path(self) -> tuple[str, ...]:
        """The attributes from the module to what the name stands for."""
        return (self.attr,) if self.attr else ()

    @staticmethod
    def bound_by(alias: ast.alias) -> str:
        """The name that an alias binds."""
        return alias.asname or alias.name.partition(".")[0]

    @staticmethod
    def all_of(node: ast.Import | ast.ImportFrom) -> list[Imported]:
        """Each name of the statement."""
        bound = Imported.bound_by
        if isinstance(node, ast.ImportFrom):
            module = node.module or ""
            return [Imported(bound(each), module, each.name, module, node.level, node) for each in node.names]
        return [
            Imported(bound(each), each.name if each.asname else bound(each), "", each.name, 0, node)
            for each in node.names
        ]


@dataclass(frozen=True)
class Reference:
    """A name of the module that is read, and the attributes taken from it: ``np.random.seed`` is of ``np``.

    A ``weak`` one stands in an annotation that may never be evaluated: what it names needn't exist.
    """

    path: tuple[str, ...]
    node: ast.expr
    weak: bool = False


@dataclass(frozen=True)
class InnerImport:
    """An import within a statement, or a use of what it binds: then ``chain`` holds the attributes taken from that.

    An ``optional`` one stands in a ``try`` or an ``if``: it may rightly be missing.
    """

    imported: Imported
    chain: tuple[str, ...] | None
    optional: bool


@dataclass
class References:
    """All that a statement refers to.

    ``writes`` are the ``global`` names that its functions assign, each with the place; ``changes`` the module's names
    that they assign or whose objects they change.
    """

    names: list[Reference] = field(default_factory=list)
    imports: list[InnerImport] = field(default_factory=list)
    writes: list[tuple[str, ast.stmt]] = field(default_factory=list)
    changes: set[str] = field(default_factory=set)


def references_of(statement: ast.stmt, future_annotations: bool, dropped: set[int]) -> References:
    """What a top-level statement refers to. ``dropped`` holds the ids of decorators that are not looked at."""
    visitor = _Visitor(future_annotations, dropped)
    visitor.visit(statement)
    return visitor.found


def dotted(expression: ast.expr) -> tuple[str, ...]:
    """The parts of ``a.b.c``; () for any other expression."""
    names: list[str] = []
    while isinstance(expression, ast.Attribute):
        names.insert(0, expression.attr)
        expression = expression.value
    return (expression.id, *names) if isinstance(expression, ast.Name) else ()


@functools.lru_cache(maxsize=4096)
def local_names(function: ast.FunctionDef | ast.AsyncFunctionDef) -> frozenset[str]:
    """The names that are local to a function, its parameters included."""
    return frozenset(_function_scope({each.arg for each in _arguments(function.args)}, function.body).bound)


@dataclass
class _Scope:
    kind: str  # "function", "class" or "comprehension"
    bound: set[str]
    declared_global: set[str] = field(default_factory=set)
    imports: dict[str, list[Imported]] = field(default_factory=dict)


class _Visitor(ast.NodeVisitor):
    def __init__(self, future_annotations: bool, dropped: set[int]) -> None:
        self.future_annotations = future_annotations
        self.dropped = dropped
        self.found = References()
        self.scopes: list[_Scope] = []
        self.weak = False
        self.guards = 0

    # names

    def visit_Name(self, node: ast.Name) -> None:
        if not isinstance(node.ctx, ast.Store):
            self._read((node.id,), node)

    def visit_Attribute(self, node: ast.Attribute) -> None:
        path = dotted(node)
        if path:
            self._read(path, node)
        else:
            self.visit(node.value)
        if not isinstance(node.ctx, ast.Load):
            self._change(node)

    def visit_Subscript(self, node: ast.Subscript) -> None:
        if not isinstance(node.ctx, ast.Load):
            self._change(node)
        self.generic_visit(node)

    def visit_Expr(self, node: ast.Expr) -> None:
        called = node.value.func if isinstance(node.value, ast.Call) else None
        if isinstance(called, ast.Attribute) and called.attr not in REPORTING:
            self._change(called)
        self.generic_visit(node)

    def _read(self, path: tuple[str, ...], node: ast.expr) -> None:
        scope = self._scope_of(path[0])
        if scope is None:
            if path[0] != "__class__" or not self.scopes:
                self.found.names.append(Reference(path, node, self.weak))
            return
        for imported in scope.imports.get(path[0], ()):
            self.found.imports.append(InnerImport(imported, path[1:], optional=True))

    def _scope_of(self, name: str) -> _Scope | None:
        """The scope inside the statement that the name belongs to; None for the module's."""
        for scope in reversed(self.scopes):
            if name in scope.declared_global:
                return None
            if name in scope.bound and (scope.kind != "class" or scope is self.scopes[-1]):
                return scope
        return None

    def _change(self, node: ast.expr) -> None:
        while isinstance(node, (ast.Attribute, ast.Subscript, ast.Call)):
            node = node.func if isinstance(node, ast.Call) else node.value
        if self.scopes and isinstance(node, ast.Name) and self._scope_of(node.id) is None:
            self.found.changes.add(node.id)

    # scopes

    def visit_FunctionDef(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        kept = [each for each in node.decorator_list if id(each) not in self.dropped]
        self._visit_all(kept)
        self._visit_all([*node.args.defaults, *(each for each in node.args.kw_defaults if each)])
        with self._scope(_type_parameters(node)):
            self._visit_all(getattr(node, "type_params", ()))
            arguments = _arguments(node.args)
            for annotation in [*(each.annotation for each in arguments), node.returns]:
                self._annotation(annotation, looked_at=bool(kept))
            with self._scope(_function_scope({each.arg for each in arguments}, node.body)) as scope:
                self._visit_all(node.body)
            self._record_writes(node, scope)

    visit_AsyncFunctionDef = visit_FunctionDef  # noqa: N815  # the name that ast calls

    def _record_writes(self, node: ast.FunctionDef | ast.AsyncFunctionDef, scope: _Scope) -> None:
        written = {name for each in node.body for name in bound_names(each)} & scope.declared_global
        self.found.changes |= written
        for each in node.body:
            for part in running(each):
                if isinstance(part, ast.Global):
                    self.found.writes.extend((name, part) for name in part.names if name in written)

    def visit_Lambda(self, node: ast.Lambda) -> None:
        self._visit_all([*node.args.defaults, *(each for each in node.args.kw_defaults if each)])
        walrus = bound_names(ast.Expr(node.body))
        with self._scope(_Scope("function", {each.arg for each in _arguments(node.args)} | walrus)):
            self.visit(node.body)

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        self._visit_all([each for each in node.decorator_list if id(each) not in self.dropped])
        with self._scope(_type_parameters(node)):
            self._visit_all([*getattr(node, "type_params", ()), *node.bases, *node.keywords])
            with self._scope(_Scope("class", {"__qualname__", "__module__"})) as scope:
                for each in node.body:
                    self.visit(each)
                    if isinstance(each, (ast.Assign, ast.Import, ast.ImportFrom, ast.ClassDef, *_Function)) or (
                        isinstance(each, ast.AnnAssign) and each.value is not None
                    ):
                        scope.bound |= bound_names(each)  # from here on: before, the name is the module's

    def _visit_comprehension(self, node: ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp) -> None:
        first, *others = node.generators
        self.visit(first.iter)
        bound = {part.id for each in node.generators for part in ast.walk(each.target) if isinstance(part, ast.Name)}
        with self._scope(_Scope("comprehension", bound)):
            self._visit_all([first.target, *first.ifs])
            self._visit_all(others)
            self._visit_all([node.key, node.value] if isinstance(node, ast.DictComp) else [node.elt])

    visit_ListComp = visit_SetComp = visit_DictComp = visit_GeneratorExp = _visit_comprehension  # noqa: N815  # as above

    @contextlib.contextmanager
    def _scope(self, scope: _Scope) -> Iterator[_Scope]:
        self.scopes.append(scope)
        yield scope
        self.scopes.pop()

    def _visit_all(self, nodes: Iterable[ast.AST]) -> None:
        for each in nodes:
            self.visit(each)

    # annotations

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        if node.value is not None:
            self.visit(node.value)
        self.visit(node.target)
        kind = next((scope.kind for scope in reversed(self.scopes)), "module")
        if kind != "function":  # those of local variables are never evaluated
            self._annotation(node.annotation, looked_at=kind == "class")

    def _annotation(self, node: ast.expr | None, *, looked_at: bool) -> None:
        """``looked_at``: whether something (pydantic, a decorator) may evaluate what Python itself leaves alone."""
        if node is None:
            return
        if not self.future_annotations:
            self.visit(node)
        if not looked_at:
            return
        outer, self.weak = self.weak, True
        for each in _forward(node) if not self.future_annotations else [node, *_forward(node)]:
            self.visit(each)
        self.weak = outer

    # what is imported, and under which conditions

    def visit_If(self, node: ast.If) -> None:
        self.visit(node.test)
        self.guards += 1
        self._visit_all([*([] if never_holds(node.test) else node.body), *node.orelse])
        self.guards -= 1

    def visit_Try(self, node: ast.Try) -> None:
        self.guards += 1
        self.generic_visit(node)
        self.guards -= 1

    visit_TryStar = visit_Try  # noqa: N815  # new in Python 3.11

    def visit_With(self, node: ast.With) -> None:
        suppresses = any("suppress" in ast.dump(each.context_expr) for each in node.items)
        self.guards += suppresses
        self.generic_visit(node)
        self.guards -= suppresses

    def visit_Import(self, node: ast.Import | ast.ImportFrom) -> None:
        in_class = bool(self.scopes) and self.scopes[-1].kind == "class"
        for imported in Imported.all_of(node):
            self.found.imports.append(InnerImport(imported, () if in_class else None, optional=self.guards > 0))

    visit_ImportFrom = visit_Import  # noqa: N815  # as above


def _arguments(arguments: ast.arguments) -> list[ast.arg]:
    rest = [each for each in (arguments.vararg, arguments.kwarg) if each]
    return [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs, *rest]


def _type_parameters(node: ast.AST) -> _Scope:
    return _Scope("function", {each.name for each in getattr(node, "type_params", ())})


def _function_scope(arguments: set[str], body: list[ast.stmt]) -> _Scope:
    scope = _Scope("function", set(arguments))
    free: set[str] = set()
    for part in (part for each in body for part in running(each)):
        if isinstance(part, ast.Global):
            scope.declared_global.update(part.names)
        elif isinstance(part, ast.Nonlocal):
            free.update(part.names)
        elif isinstance(part, ast.ExceptHandler) and part.name:
            scope.bound.add(part.name)
        elif isinstance(part, (ast.Import, ast.ImportFrom)):
            for imported in Imported.all_of(part):
                scope.imports.setdefault(imported.binds, []).append(imported)
    scope.bound |= {name for each in body for name in bound_names(each)}
    scope.bound -= scope.declared_global | free
    return scope


def _forward(annotation: ast.expr) -> Iterator[ast.expr]:
    """The types that an annotation names in strings: not the choices of a ``Literal``, nor what ``Annotated`` adds."""
    if isinstance(annotation, ast.Constant) and isinstance(annotation.value, str):
        with contextlib.suppress(SyntaxError, ValueError):
            yield ast.copy_location(ast.parse(annotation.value.strip(), mode="eval").body, annotation)
    elif isinstance(annotation, ast.Subscript):
        kind = dotted(annotation.value)[-1:]
        inner = annotation.slice
        if kind == ("Annotated",) and isinstance(inner, ast.Tuple):
            yield from _forward(inner.elts[0])
        elif kind != ("Literal",):
            yield from _forward(inner)
    else:
        for part in ast.iter_child_nodes(annotation):
            if isinstance(part, ast.expr):
                yield from _forward(part)
