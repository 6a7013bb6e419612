"""Rewrites a pipeline function, so that control flow over values that a trace does not know yet is captured.

Whether a value is known is found out while the function runs, by the control object of the trace; code over ordinary
values means what it says. For example::

    if accurate(model):             __penstock_1 = __penstock__.branch(accurate(model), ("best",), {**locals()})
        best = model                if __penstock_1.then():
                                        best = model
                                    if __penstock_1.is_deferred:
                                        [best] = __penstock_1.between({**locals()})
    else:                           if __penstock_1.otherwise():
        best = load()                   best = load()
                                    if __penstock_1.is_deferred:
                                        [best] = __penstock_1.after({**locals()})

All that is made has the place of the author's syntax that it stands for: tracebacks, breakpoints and coverage point
into the author's file. Bodies of nested functions, lambdas and classes stay as they are. So do comprehensions,
``and``, ``or`` and conditional expressions in which ``:=`` would bind a name in another scope: what decides whether it
is reached must be known. A generator expression
becomes a list, unless it is handed to ``next`` or ``iter``, and the values in an f-string are all made before the first
one is formatted.
"""

from __future__ import annotations
import __future__

import ast
import functools
import itertools
import linecache
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from types import CellType, CodeType, FunctionType
from typing import TypeAlias

from penstock.diagnostics import DefinitionError, Diagnostic
from penstock.jumps import LOST, Guard, Rest, Stop, flags_of, is_try, without_jumps
from penstock.modules import first_line
from penstock.sources import location_of
from penstock.syntax import (
    CONTROL,
    FLAG,
    Comprehension,
    Function,
    ask,
    assign,
    attribute,
    bound,
    call,
    load,
    own_nodes,
    place_of,
    placed,
)

BUILTINS = frozenset(
    (
        *("range", "zip", "enumerate", "len", "isinstance", "type", "list", "sorted"),
        *("reversed", "sum", "min", "max", "any", "all", "map", "filter", "tuple", "set", "frozenset", "dict", "repr"),
    )
)
"""The functions of Python that look at their arguments without asking them."""

_AnyComprehension: TypeAlias = ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp
_FUTURE = sum({getattr(__future__, name).compiler_flag for name in __future__.all_feature_names})
_OPERATORS: dict[type[ast.cmpop], str] = {
    ast.Eq: "==",
    ast.NotEq: "!=",
    ast.Lt: "<",
    ast.LtE: "<=",
    ast.Gt: ">",
    ast.GtE: ">=",
    ast.Is: "is",
    ast.IsNot: "is not",
    ast.In: "in",
    ast.NotIn: "not in",
}
_CHANGING = frozenset(
    (
        *("append", "extend", "insert", "pop", "remove", "clear", "sort", "reverse", "appendleft", "popleft"),
        *("add", "discard", "update", "setdefault", "popitem", "difference_update", "intersection_update"),
    )
)
"""The methods by which Python's own containers are changed."""
FunctionNode: TypeAlias = ast.FunctionDef | ast.AsyncFunctionDef
_MADE = (ast.List, ast.Dict, ast.Set, ast.ListComp, ast.SetComp, ast.DictComp, ast.Call)


def rewrite(function: FunctionType) -> Callable[[object], FunctionType] | None:
    """Gives the rewritten function for the control object of a trace; None where its source can't be found.

    The source counts as found if a function of that name, with those parameters, begins at that line and is as long.

    Raises:
        DefinitionError: it is a generator or a coroutine, or leaves a ``finally`` block by a jump.
    """
    linecache.lazycache(function.__code__.co_filename, function.__globals__)
    code = _rewritten(function.__code__, function.__code__.co_filename, function.__qualname__)
    if code is None:
        return None

    def under(control: object) -> FunctionType:
        cells = dict(zip(function.__code__.co_freevars, function.__closure__ or (), strict=True))
        cells[CONTROL] = CellType(control)
        closure = tuple(cells[name] for name in code.co_freevars)
        made = FunctionType(code, function.__globals__, function.__name__, function.__defaults__, closure)
        made.__kwdefaults__ = function.__kwdefaults__
        made.__qualname__, made.__module__, made.__doc__ = function.__qualname__, function.__module__, function.__doc__
        return made

    return under


@functools.lru_cache(maxsize=256)
def _rewritten(code: CodeType, file: str, qualname: str) -> CodeType | None:
    """The rewritten code. Equal code may stand in two files, so that the file tells them apart, too."""
    lines = linecache.getlines(file)
    text = "".join(lines)
    node = _definition(code, text, lines)
    if node is None:
        return None
    _refuse_generators(node, file)
    node.body = without_jumps(node.body, file)
    body = _Rewriting(node, text).body(node.body)
    made = ast.copy_location(_function(code.co_name, _bare(node.args), body), node)
    made.decorator_list = node.decorator_list[:1]  # never run: where the first one stands, the code begins
    compiled: CodeType = compile(
        _enclosed(made, code.co_freevars, qualname), file, "exec", code.co_flags & _FUTURE, True
    )
    for name in (*_around(qualname), code.co_name):
        compiled = next(each for each in compiled.co_consts if isinstance(each, CodeType) and each.co_name == name)
    return compiled


def _definition(code: CodeType, text: str, lines: Sequence[str]) -> FunctionNode | None:
    """The ``def`` that the code was compiled from, for the caller to change."""
    named = _functions(text).get((code.co_name, code.co_firstlineno), ())
    found = [node for node in named if _fits(node, code)]
    return _parsed_anew(found[0], lines) if len(found) == 1 else None


@functools.lru_cache(maxsize=8)  # a file's pipelines are defined one after another
def _functions(text: str) -> dict[tuple[str, int], list[FunctionNode]]:
    """The functions of a file, at any depth, by name and first line."""
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError):
        return {}
    found: dict[tuple[str, int], list[FunctionNode]] = {}
    for node in ast.walk(tree):
        if isinstance(node, Function):
            found.setdefault((node.name, first_line(node)), []).append(node)
    return found


def _parsed_anew(node: FunctionNode, lines: Sequence[str]) -> FunctionNode:
    """Another node of the same function, at the same place."""
    first = first_line(node)
    above = "\n" * (first - 2) + "if True:\n" if node.col_offset else "\n" * (first - 1)
    (statement,) = ast.parse(above + "".join(lines[first - 1 : node.end_lineno])).body
    made = statement.body[0] if isinstance(statement, ast.If) else statement
    assert isinstance(made, Function)
    return made


def _fits(node: FunctionNode, code: CodeType) -> bool:
    given = node.args
    parameters = [*given.posonlyargs, *given.args, *given.kwonlyargs, *filter(None, (given.vararg, given.kwarg))]
    last = max(line for _, _, line in code.co_lines() if line is not None)
    names = tuple(each.arg for each in parameters)
    return code.co_varnames[: len(names)] == names and last <= (node.end_lineno or last)


def _refuse_generators(node: FunctionNode, file: str) -> None:
    fix = "collect the values in a list, and return that"
    if isinstance(node, ast.AsyncFunctionDef):
        fix = "write `def`, and leave `await` out: calling a step returns its result"
        raise _refusal("an `async def` cannot be a pipeline", node, file, fix)
    for each in own_nodes(*node.body):
        if isinstance(each, (ast.Yield, ast.YieldFrom)):
            raise _refusal("a pipeline cannot be a generator", each, file, fix)


def _refusal(message: str, node: ast.expr | ast.stmt, file: str, fix: str) -> DefinitionError:
    return DefinitionError(Diagnostic("P310", message, location_of(file, node, node.lineno), fix))


def _bare(given: ast.arguments) -> ast.arguments:
    """The parameters alone: their defaults and annotations were evaluated when the function was defined."""
    for each in (*given.posonlyargs, *given.args, *given.kwonlyargs, *filter(None, (given.vararg, given.kwarg))):
        each.annotation = None
    given.defaults, given.kw_defaults = [], [None] * len(given.kwonlyargs)
    return given


def _function(name: str, parameters: ast.arguments, body: list[ast.stmt]) -> ast.FunctionDef:
    made = ast.FunctionDef(name, parameters, body, [])
    vars(made)["type_params"] = []  # asked for from Python 3.12 on
    return made


def _parameters(names: Sequence[str]) -> ast.arguments:
    return ast.arguments([], [ast.arg(name) for name in names], None, [], [], None, [])


def _around(qualname: str) -> list[str]:
    return qualname.split(".<locals>.")[:-1] or ["<pipeline>"]


def _enclosed(node: ast.FunctionDef, free: Sequence[str], qualname: str) -> ast.Module:
    """The function inside others of the names that it was defined in, so that its own functions are named alike."""
    at_top = "<locals>" not in qualname
    body: list[ast.stmt] = [ast.Global([node.name]), node] if at_top else [node]
    names: Sequence[str] = [*free, CONTROL]
    for name in reversed(_around(qualname)):
        body, names = [_function(name, _parameters(names), body)], ()
    return placed(ast.Module(body, []), node)


class _Rewriting(ast.NodeTransformer):
    """Statements and expressions of one function, each as what asks the control object."""

    def __init__(self, node: FunctionNode, text: str) -> None:
        self.text = text
        self.numbers = itertools.count(1)
        own = list(own_nodes(*node.body))
        declared = (each for each in own if isinstance(each, (ast.Global, ast.Nonlocal)))
        self.outside = {name for each in declared for name in each.names}
        parameters = {each.arg for each in ast.walk(node.args) if isinstance(each, ast.arg)}
        self.local = parameters | bound(*node.body) - self.outside
        inner = (each for each in ast.walk(node) if isinstance(each, ast.Nonlocal))
        self.shared = {name for each in inner for name in each.names} & self.local
        stored = {each.id for each in own if isinstance(each, ast.Name) and isinstance(each.ctx, ast.Store)}
        self.builtins = BUILTINS - self.local - self.outside - stored
        self.mentions = Counter(each.id for each in ast.walk(node) if isinstance(each, ast.Name))
        self.growing = set(_growing(node.body, nested=True))
        self.added_to = set(_growing(node.body, nested=False))
        self.hoisted: list[ast.stmt] = []
        self.made: set[str] = set()
        self.may_be_deferred = False
        self.statements: dict[type[ast.AST], Callable[..., list[ast.stmt]]] = {
            ast.If: self._if,
            Rest: self._if,
            Guard: self._if,
            Stop: self._as_it_is,
            ast.For: self._for,
            ast.While: self._while,
            ast.With: self._with,
            ast.Match: self._match,
            ast.Raise: self._raise,
            ast.Assert: self._assert,
            ast.Assign: self._assign,
            ast.AnnAssign: self._annotated,
            ast.AugAssign: self._augmented,
            ast.ClassDef: self._as_it_is,
        }
        self.expressions: dict[type[ast.AST], Callable[..., ast.expr]] = {
            ast.BoolOp: self._and_or,
            ast.UnaryOp: self._not,
            ast.Compare: self._compare,
            ast.IfExp: self._choose,
            ast.JoinedStr: self._text,
            ast.Call: self._call,
            ast.Attribute: self._part,
            ast.Subscript: self._part,
            **dict.fromkeys(Comprehension, self._comprehension),
        }

    def body(self, statements: list[ast.stmt]) -> list[ast.stmt]:
        """The statements of a block, with the functions that their comprehensions became."""
        written: list[ast.stmt] = []
        for each in statements:
            names, made = bound(each), set(_made(each))
            outer, self.hoisted = self.hoisted, []
            outside, where = self._bound_outside(each), place_of(each)
            lines = self._try(each) if is_try(each) else self.statements.get(type(each), self._simple)(each)
            lines[:0] = [placed(ast.Expr(ask("binds_outside", [ast.Constant(name)], each)), each) for name in outside]
            written += [*(ast.copy_location(made_here, where) for made_here in self.hoisted), *lines]
            self.hoisted = outer
            self.made = (self.made - names) | made
        return written

    def visit(self, node: ast.AST) -> ast.AST:
        """The expression rewritten, and all below it; inner functions only where they are evaluated here."""
        if isinstance(node, (ast.Lambda, *Function)):
            node.args.defaults = [self._value(each) for each in node.args.defaults]
            node.args.kw_defaults = [each and self._value(each) for each in node.args.kw_defaults]
            if not isinstance(node, ast.Lambda):
                node.decorator_list = [self._value(each) for each in node.decorator_list]
            return node
        return self.expressions.get(type(node), self.generic_visit)(node)

    def _value(self, node: ast.expr) -> ast.expr:
        value = self.visit(node)
        assert isinstance(value, ast.expr)
        return value

    def _temporary(self) -> str:
        return f"__penstock_{next(self.numbers)}"

    def _names(self, *roots: ast.AST) -> list[str]:
        """The names that a block may bind, those that functions inside this one may bind for it included."""
        return sorted(name for name in (bound(*roots) | self.shared) - self.outside if not name.startswith(LOST))

    def _read(self, guard: Guard) -> tuple[list[str], list[str]]:
        """The function's own names that are read in a guard, and the flags of which it asks that none is set."""
        names = (each for each in ast.walk(guard) if isinstance(each, ast.Name) and isinstance(each.ctx, ast.Load))
        read = {each.id for each in names if each.id in self.local and not each.id.startswith(FLAG)}
        return sorted(read), sorted({each.id for each in ast.walk(guard.test) if isinstance(each, ast.Name)})

    def _deferrable(self, statements: list[ast.stmt], keeps: bool = False) -> list[ast.stmt]:
        """A block that may run once in a trace for many times, or for none, later."""
        outer = self.made, self.may_be_deferred
        self.made, self.may_be_deferred = set(self.made) if keeps else set(), True
        written = self.body(statements)
        self.made, self.may_be_deferred = outer
        return written

    def _bound_outside(self, node: ast.stmt) -> list[str]:
        """The names of others that a simple statement binds in a block that may run for none or many times."""
        is_simple = self.may_be_deferred and not (hasattr(node, "body") or hasattr(node, "cases"))
        return sorted(bound(node) & self.outside) if is_simple else []

    def _as_it_is(self, node: ast.stmt) -> list[ast.stmt]:
        return [node]

    def _simple(self, node: ast.stmt) -> list[ast.stmt]:
        visited = self.visit(node)
        assert isinstance(visited, ast.stmt)
        return [visited]

    def _if(self, node: ast.If) -> list[ast.stmt]:
        where, keeps = node.test, isinstance(node, Rest)
        read, unset = self._read(node) if isinstance(node, Guard) else ([], [])
        names, branch = self._names(*node.body, *node.orelse), self._temporary()
        test = ask("branch", [self._value(node.test), _listed(names), _state()], where)
        then, otherwise = (self._deferrable(each, keeps) for each in (node.body, node.orelse))
        if read:
            then.insert(0, _hand_over(branch, "enter", read, where, _listed(read), _listed(unset)))
        return [
            assign(branch, test, where),
            _when(call(branch, "then", (), where), then, where),
            _hand_over(branch, "between", [*names, *read], where, *([_listed(read)] if read else [])),
            _when(call(branch, "otherwise", (), where), otherwise or [ast.Pass()], where),
            _hand_over(branch, "after", names, where),
        ]

    def _for(self, node: ast.For) -> list[ast.stmt]:
        where = node.iter
        flags, bound_here = flags_of(node), self._names(node.target, *node.body)
        names = [each for each in bound_here if each in flags or not each.startswith(FLAG)]
        loop, item = self._temporary(), self._temporary()
        iterable = ask("loop", [self._value(where), _listed(names), _state()], where)
        bind = placed(ast.Assign([node.target], load(item)), node.target)
        guarded = node.body[0] if isinstance(node.body[-1], Stop) else node
        assert isinstance(guarded, (ast.If, ast.For))
        guarded.body.insert(0, bind)
        enter = _hand_over(loop, "enter", names, node.target)
        body = [enter, *self._deferrable(node.body)]
        target = ast.copy_location(ast.Name(item, ast.Store()), node.target)
        through = placed(ast.For(target, placed(load(loop), where), body, []), node)
        return [assign(loop, iterable, where), through, _hand_over(loop, "after", names, where)]

    def _while(self, node: ast.While) -> list[ast.stmt]:
        node.test = ask("plain", [self._value(node.test), ast.Constant("while")], node.test)
        node.body = self.body(node.body)
        return [node]

    def _with(self, node: ast.With) -> list[ast.stmt]:
        for item in node.items:
            self.generic_visit(item)
            item.context_expr = ask("managed", [item.context_expr], item.context_expr)
        node.body = self.body(node.body)
        return [node]

    def _match(self, node: ast.Match) -> list[ast.stmt]:
        node.subject = ask("plain", [self._value(node.subject), ast.Constant("match")], node.subject)
        for case in node.cases:
            case.guard = case.guard and self._value(case.guard)
            case.body = self.body(case.body)
        return [node]

    def _try(self, node: ast.Try) -> list[ast.stmt]:
        where, mark = node.body[0], self._temporary()
        node.body = self.body(node.body)
        if node.handlers:
            end = placed(ast.Expr(ask("attempted", [load(mark)], where)), where)
            node.body = [assign(mark, ask("attempt", (), where), where), *node.body, end]
        for handler in node.handlers:
            caught = placed(ast.Expr(ask("attempted", [load(mark)], handler.body[0])), handler.body[0])
            handler.body = [caught, *self.body(handler.body)]
        node.orelse, node.finalbody = self.body(node.orelse), self.body(node.finalbody)
        if not node.finalbody:
            return [node]
        before, after = self._temporary(), self._temporary()
        begin, last = (assign(each, ask("attempt", (), where), where) for each in (before, after))
        end = placed(ast.Expr(ask("finished", [load(before), load(after)], where)), where)
        node.finalbody = [last, *node.finalbody, end]
        return [begin, node]

    def _raise(self, node: ast.Raise) -> list[ast.stmt]:
        self.generic_visit(node)
        if node.exc is None:
            return [node]
        fail = placed(ast.Expr(ask("fail", [node.exc], node)), node)
        return [placed(ast.If(ask("may_raise", (), node), [node], [fail]), node)]

    def _assert(self, node: ast.Assert) -> list[ast.stmt]:
        text = ast.get_source_segment(self.text, node.test) or ""
        written = ast.Constant(ast.unparse(node.test) if "\n" in text or not text else text)
        message = _thunk(self._value(node.msg)) if node.msg else ast.Constant(None)
        return [placed(ast.Expr(ask("check", [self._value(node.test), message, written], node.test)), node)]

    def _assign(self, node: ast.Assign) -> list[ast.stmt]:
        (target, *others), value = node.targets, node.value
        if not others and isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple):
            pairs = itertools.zip_longest(value.elts, target.elts[: len(value.elts)])
            value.elts = [self._tracked(each, self._grows(name, each)) for each, name in pairs]
        else:
            node.value = self._tracked(value, any(self._grows(each, value) for each in node.targets))
        node.targets = [self._value(each) for each in node.targets]
        return [node]

    def _annotated(self, node: ast.AnnAssign) -> list[ast.stmt]:
        node.value = node.value and self._tracked(node.value, self._grows(node.target, node.value))
        target = self.visit(node.target)
        assert isinstance(target, (ast.Name, ast.Attribute, ast.Subscript))
        node.target = target
        return [node]

    def _augmented(self, node: ast.AugAssign) -> list[ast.stmt]:
        lines = self._simple(node)
        if self.may_be_deferred and isinstance(node.target, ast.Name):
            changed = self._changed(load(node.target.id), f"{node.target.id} = ...", node)
            lines.insert(0, placed(ast.Expr(changed), node))
        return lines

    def _grows(self, target: ast.expr | None, value: ast.expr) -> bool:
        """Whether a list may be added to that a name is bound to; a copy may be of one that is not known yet."""
        names = self.added_to if isinstance(value, ast.Call) else self.growing
        return isinstance(target, ast.Name) and target.id in names

    def _changed(self, thing: ast.expr, how: str, where: ast.AST) -> ast.expr:
        """An object that is about to be changed, which must not have been there before a deferred block."""
        is_own = isinstance(thing, ast.Name) and thing.id in self.made
        return ask("changes", [thing, ast.Constant(is_own), ast.Constant(how)], where)

    def _tracked(self, node: ast.expr, grows: bool) -> ast.expr:
        """A list that a nested block adds to, as one that the trace follows; any other value rewritten."""
        called = node.func if isinstance(node, ast.Call) else None
        makes_list = isinstance(called, ast.Name) and called.id == "list" and "list" in self.builtins
        is_list = makes_list or isinstance(node, (ast.List, ast.ListComp, ast.BinOp))
        value = self._value(node)
        return ask("new_list", [value], value) if grows and is_list else value

    def _and_or(self, node: ast.BoolOp) -> ast.expr:
        alone = _binds(*node.values[1:])
        node.values = [self._value(each) for each in node.values]
        if alone:
            node.values[:-1] = map(_reached, node.values[:-1])
            return node
        method = "and_" if isinstance(node.op, ast.And) else "or_"
        return ask(method, [node.values[0], *map(_thunk, node.values[1:])], node)

    def _not(self, node: ast.UnaryOp) -> ast.expr:
        node.operand = self._value(node.operand)
        return ask("not_", [node.operand], node) if isinstance(node.op, ast.Not) else node

    def _compare(self, node: ast.Compare) -> ast.expr:
        alone = _binds(*node.comparators)
        node.left = self._value(node.left)
        node.comparators = [self._value(each) for each in node.comparators]
        operators = [ast.Constant(_OPERATORS[type(each)]) for each in node.ops]
        if alone and len(operators) == 1:
            return ask("compared", [node.left, *operators, *node.comparators], node)
        if alone:
            node.left, node.comparators[:-1] = _reached(node.left), map(_reached, node.comparators[:-1])
            return node
        pairs = zip(operators, map(_thunk, node.comparators), strict=True)
        return ask("compare", [node.left, *itertools.chain.from_iterable(pairs)], node)

    def _choose(self, node: ast.IfExp) -> ast.expr:
        alone = _binds(node.body, node.orelse)
        node.test, node.body, node.orelse = map(self._value, (node.test, node.body, node.orelse))
        if alone:
            node.test = _reached(node.test)
            return node
        return ask("choose", [node.test, _thunk(node.body), _thunk(node.orelse)], node)

    def _text(self, node: ast.JoinedStr) -> ast.expr:
        return node if _is_constant(node) else ask("text", map(self._text_part, node.values), node)

    def _text_part(self, node: ast.expr) -> ast.expr:
        if not isinstance(node, ast.FormattedValue):
            return node
        conversion = ast.Constant("" if node.conversion < 0 else chr(node.conversion))
        return placed(ast.Tuple([self._value(node.value), conversion, self._specification(node)], ast.Load()), node)

    def _specification(self, node: ast.FormattedValue) -> ast.expr:
        wanted = node.format_spec
        if isinstance(wanted, ast.JoinedStr) and not _is_constant(wanted):
            return self._text(wanted)
        parts = wanted.values if isinstance(wanted, ast.JoinedStr) else []
        return ast.Constant("".join(str(each.value) for each in parts if isinstance(each, ast.Constant)))

    def _call(self, node: ast.Call) -> ast.expr:
        name = node.func.id if isinstance(node.func, ast.Name) else ""
        if name in ("next", "iter") and node.args and isinstance(node.args[0], ast.GeneratorExp):
            node.args[1:] = [self._value(each) for each in node.args[1:]]
            return node
        self.generic_visit(node)
        is_next = name == "next" and bool(node.args) and isinstance(node.args[0], (ast.Name, ast.Attribute))
        if is_next and self.may_be_deferred:
            node.args[0] = self._changed(node.args[0], name, node.args[0])
        called = node.func
        if self.may_be_deferred and isinstance(called, ast.Attribute) and called.attr in _CHANGING:
            own = isinstance(called.value, ast.Name) and called.value.id.startswith(FLAG)
            called.value = called.value if own else self._changed(called.value, called.attr, called.value)
        if name in self.builtins:
            node.func = ask("builtin", [node.func], node.func)
        return node

    def _part(self, node: ast.Attribute | ast.Subscript) -> ast.expr:
        self.generic_visit(node)
        if self.may_be_deferred and not isinstance(node.ctx, ast.Load):
            node.value = self._changed(node.value, "", node.value)
        return node

    def _comprehension(self, node: _AnyComprehension) -> ast.expr:
        """A call of a function with the comprehension's loops, which is defined before the statement that holds it."""
        if self._leaks(node):
            for each in node.generators:
                each.iter, each.ifs = _reached(each.iter), [_reached(test) for test in each.ifs]
            return node
        first = self._value(node.generators[0].iter)
        name, given, result = self._temporary(), self._temporary(), self._temporary()
        node.generators[0].iter = placed(load(given), first)
        lines = [
            assign(result, ask("new_list", [ast.List([], ast.Load())], node), node),
            *self._isolated(_loops(node, result)),
            placed(ast.Return(load(result)), node),
        ]
        self.hoisted.append(placed(_function(name, _parameters([given]), lines), node))
        made = ast.copy_location(ast.Call(placed(load(name), node), [first], []), node)
        finish = "as_set" if isinstance(node, ast.SetComp) else "as_dict" if isinstance(node, ast.DictComp) else ""
        return ask(finish, [made], node) if finish else made

    def _leaks(self, node: _AnyComprehension) -> bool:
        """Whether ``:=`` in a comprehension binds a name that is mentioned outside of it."""
        parts = list(ast.walk(node))
        bound_here = {each.target.id for each in parts if isinstance(each, ast.NamedExpr)}
        mentions = Counter(each.id for each in parts if isinstance(each, ast.Name))
        return any(self.mentions[name] > mentions[name] for name in bound_here)

    def _isolated(self, statements: list[ast.stmt]) -> list[ast.stmt]:
        """A block in a scope of its own, which binds none of the function's names."""
        outer, self.shared = (self.shared, self.outside), set()
        self.outside = set()
        written = self._deferrable(statements)
        self.shared, self.outside = outer
        return written


def _loops(node: _AnyComprehension, result: str) -> list[ast.stmt]:
    """The comprehension as statements that append to ``result``."""
    pair = [node.key, node.value] if isinstance(node, ast.DictComp) else []
    item = placed(ast.Tuple(pair, ast.Load()), node.key) if isinstance(node, ast.DictComp) else node.elt
    block: list[ast.stmt] = [placed(ast.Expr(call(result, "append", [item], item)), item)]
    for each in reversed(node.generators):
        for test in reversed(each.ifs):
            block = [placed(ast.If(test, block, []), test)]
        block = [placed(ast.For(each.target, each.iter, block, []), each.target)]
    return block


def _growing(statements: list[ast.stmt], *, nested: bool) -> Iterator[str]:
    """The names of a list that is added to: in a nested block, or anywhere."""
    whole = [*statements, *(each.value for each in statements if isinstance(each, ast.Expr))]
    top = set(map(id, whole)) if nested else set()
    for node in itertools.chain.from_iterable(map(ast.walk, statements)):  # in the functions inside it, too
        if isinstance(node, ast.AugAssign) and isinstance(node.op, ast.Add) and isinstance(node.target, ast.Name):
            yield from () if id(node) in top else (node.target.id,)
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and id(node) not in top:
            is_added_to = node.func.attr in ("append", "extend") and isinstance(node.func.value, ast.Name)
            yield from (node.func.value.id,) if is_added_to and isinstance(node.func.value, ast.Name) else ()


def _made(statement: ast.stmt) -> Iterator[str]:
    """The names that a statement binds to an object that it makes."""
    targets = statement.targets if isinstance(statement, ast.Assign) else [getattr(statement, "target", None)]
    if isinstance(statement, (ast.Assign, ast.AnnAssign)) and isinstance(statement.value, _MADE):
        yield from (each.id for each in targets if isinstance(each, ast.Name))


def _binds(*nodes: ast.AST) -> bool:
    return any(isinstance(each, ast.NamedExpr) for node in nodes for each in ast.walk(node))


def _is_constant(node: ast.JoinedStr) -> bool:
    return all(isinstance(each, ast.Constant) for each in node.values)


def _reached(node: ast.expr) -> ast.expr:
    """What decides whether a ``:=`` is reached: it binds a name in the scope that a thunk would not share."""
    return ask("reached", [node], node)


def _thunk(node: ast.expr) -> ast.expr:
    return placed(ast.Lambda(_parameters(()), node), node)


def _state() -> ast.expr:
    """The local variables as they are now: a copy, for Python may hand out the same dict each time."""
    return ast.Dict([None], [ast.Call(load("locals"), [], [])])


def _when(test: ast.expr, body: list[ast.stmt], where: ast.AST) -> ast.stmt:
    return placed(ast.If(test, body, []), where)


def _listed(names: list[str]) -> ast.expr:
    return ast.Tuple([ast.Constant(name) for name in names], ast.Load())


def _hand_over(receiver: str, method: str, names: list[str], where: ast.AST, *arguments: ast.expr) -> ast.stmt:
    targets = ast.List([ast.Name(name, ast.Store()) for name in names], ast.Store())
    handed = placed(ast.Assign([targets], call(receiver, method, [_state(), *arguments], where)), where)
    return _when(attribute(receiver, "is_deferred", where), [handed], where)
