"""What the annotations of a function or a class evaluate to.

Strings (`from __future__ import annotations`, forward references) are evaluated where the function or class was
defined; names that only an enclosing function knows come from its closure or from a namespace that the caller gives.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
import operator
import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

_NOWHERE: Mapping[str, object] = types.MappingProxyType({})


class UnsupportedAnnotation(Exception):  # noqa: N818  # says what is unsupported, not that something failed
    """An annotation that is missing, cannot be evaluated, or names a type whose values cannot travel between steps.

    ``parameter`` is the parameter it is about, ``return`` for the return annotation, or empty where that is not known.
    """

    def __init__(self, message: str, fix: str, parameter: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.fix = fix
        self.parameter = parameter


@dataclass(frozen=True)
class Parameter:
    """A parameter as declared, its annotation evaluated; ``default`` is ``inspect.Parameter.empty`` or given."""

    name: str
    annotation: object
    default: object = inspect.Parameter.empty

    @property
    def required(self) -> bool:
        """Whether a call must give it."""
        return self.default is inspect.Parameter.empty


@dataclass(frozen=True)
class Signature:
    """A function's parameters and return annotation.

    What is wrong is in ``problems``, all of it; the annotation concerned then counts as ``Any``, so that one can go on.
    """

    parameters: tuple[Parameter, ...]
    returns: object
    problems: tuple[UnsupportedAnnotation, ...] = ()


def signature_of(function: Callable[..., object], namespace: Mapping[str, object] = _NOWHERE) -> Signature:
    """The evaluated signature of a step or pipeline function.

    Args:
        function: a plain function; one wrapped by `functools.wraps` is read through.
        namespace: names that annotations may use beside the function's globals and closure, such as the locals of the
            function that defines it.
    """
    function = inspect.unwrap(function)
    reader = _SignatureReader(function, {**_closure(function), **namespace})
    signature = inspect.signature(function)
    parameters = tuple(reader.parameter(each) for each in signature.parameters.values())
    return Signature(parameters, reader.returns(signature.return_annotation), tuple(reader.problems))


def evaluate(annotation: object, globalns: Mapping[str, object], localns: Mapping[str, object] = _NOWHERE) -> Any:
    """What an annotation stands for, all strings in it evaluated, `Annotated` kept.

    Raises:
        UnsupportedAnnotation: it names something that does not exist there, or is no annotation at all.
    """
    # Not `get_type_hints(function)`: Python 3.10 would turn `x: int = None` into `Optional[int]`, later ones do not.
    holder = types.SimpleNamespace(__annotations__={"it": annotation})
    try:
        hint = typing.get_type_hints(holder, dict(globalns), dict(localns), include_extras=True)["it"]
        return _with_strings_evaluated(hint, globalns, localns)
    except UnsupportedAnnotation:
        raise
    except Exception as error:  # evaluating runs the author's expression, which may raise anything
        raise _unevaluated(f"the annotation `{annotation}`", error) from error


def class_hints(cls: type, namespace: Mapping[str, object] = _NOWHERE) -> dict[str, Any]:
    """The evaluated annotations of a class and its bases. Raises `UnsupportedAnnotation` as `evaluate` does."""
    try:
        hints = typing.get_type_hints(cls, include_extras=True)
    except Exception:  # noqa: BLE001  # evaluating runs the author's expressions, which may raise anything
        local = {**vars(cls), cls.__name__: cls, **namespace}
        try:
            hints = typing.get_type_hints(cls, localns=local, include_extras=True)
        except Exception as error:
            raise _unevaluated(f"what class `{cls.__qualname__}` says of its fields", error) from error
    return {name: _with_strings_evaluated(hint, _globals(cls), namespace) for name, hint in hints.items()}


@dataclass
class _SignatureReader:
    function: Callable[..., object]
    namespace: Mapping[str, object]
    problems: list[UnsupportedAnnotation] = field(default_factory=list)

    def parameter(self, parameter: inspect.Parameter) -> Parameter:
        problem = self._problem_of_kind(parameter)
        if problem is None:
            return Parameter(parameter.name, self._annotation(parameter), parameter.default)
        self.problems.append(problem)
        return Parameter(parameter.name, Any, parameter.default)

    def returns(self, annotation: object) -> object:
        if annotation is not inspect.Signature.empty:
            return self._evaluated(annotation, "the return annotation", "return")
        message = f"`{self.function.__qualname__}` has no return annotation"
        self._report(message, "write `-> None` if it returns nothing, else the type that it returns", "return")
        return Any

    def _annotation(self, parameter: inspect.Parameter) -> object:
        name = parameter.name
        if parameter.annotation is not inspect.Parameter.empty:
            return self._evaluated(parameter.annotation, f"parameter `{name}`", name)
        example = "int" if parameter.default in (inspect.Parameter.empty, None) else type(parameter.default).__name__
        self._report(
            f"parameter `{name}` of `{self.function.__qualname__}` has no annotation",
            f"write what it takes, for instance `{name}: {example}`",
            name,
        )
        return Any

    def _evaluated(self, annotation: object, where: str, parameter: str) -> object:
        try:
            return evaluate(annotation, self.function.__globals__, self.namespace)
        except UnsupportedAnnotation as error:
            message = f"{where} of `{self.function.__qualname__}`: {error.message}"
            self._report(message, error.fix, parameter)
            return Any

    def _problem_of_kind(self, parameter: inspect.Parameter) -> UnsupportedAnnotation | None:
        name, owner = parameter.name, self.function.__qualname__
        if parameter.kind is inspect.Parameter.VAR_POSITIONAL:
            fix = f"take a list: `{name}: list[...]`"
            return UnsupportedAnnotation(f"`*{name}` of `{owner}` has no fixed inputs", fix, name)
        if parameter.kind is inspect.Parameter.VAR_KEYWORD:
            fix = f"take a dict: `{name}: dict[str, ...]`"
            return UnsupportedAnnotation(f"`**{name}` of `{owner}` has no fixed inputs", fix, name)
        if parameter.kind is inspect.Parameter.POSITIONAL_ONLY:
            message = f"parameter `{name}` of `{owner}` cannot be given by name, which is how an engine gives inputs"
            return UnsupportedAnnotation(message, "leave out the `/`", name)
        return None

    def _report(self, message: str, fix: str, parameter: str) -> None:
        self.problems.append(UnsupportedAnnotation(message, fix, parameter))


def _closure(function: Callable[..., object]) -> dict[str, object]:
    names = function.__code__.co_freevars
    found = {}
    for name, cell in zip(names, function.__closure__ or (), strict=True):
        with contextlib.suppress(ValueError):  # not bound yet
            found[name] = cell.cell_contents
    return found


def _with_strings_evaluated(hint: Any, globalns: Mapping[str, object], localns: Mapping[str, object]) -> Any:
    """``list["Net"]`` as ``list[Net]``: Python 3.10 leaves strings inside built-in generics alone."""
    if typing.get_origin(hint) is typing.Literal or not hasattr(hint, "__args__"):
        return hint
    args = tuple(
        evaluate(arg, globalns, localns) if isinstance(arg, str) else _with_strings_evaluated(arg, globalns, localns)
        for arg in hint.__args__
    )
    if args == hint.__args__:
        return hint
    if isinstance(hint, types.UnionType):
        return functools.reduce(operator.or_, args)
    if isinstance(hint, types.GenericAlias):
        origin: Any = hint.__origin__
        return origin[args]
    return hint.copy_with(args)


def _globals(cls: type) -> Mapping[str, object]:
    module = inspect.getmodule(cls)
    return vars(module) if module else _NOWHERE


def _unevaluated(what: str, error: Exception) -> UnsupportedAnnotation:
    fix = "write a type that exists when the module is imported"
    if isinstance(error, NameError) and error.name:
        fix = f"define or import `{error.name}` at the top of the module, outside of `if TYPE_CHECKING:`"
    return UnsupportedAnnotation(f"{what} cannot be evaluated: {error}", fix)
