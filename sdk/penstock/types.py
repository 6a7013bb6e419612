"""From annotations to `TypeSpec`, the form in which a spec and its edges know a type.

`signature_of` evaluates what the author wrote, `type_of` reads it, `returns_of` divides a return annotation into
outputs; `is_assignable` and `accepts` then say what may go where. Classes of libraries are told apart by name, so that
reading an annotation imports nothing.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import decimal
import enum
import inspect
import io
import os
import sys
import types
import typing
import uuid
from collections import abc
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Final, Literal, TypeVar, Union

from penstock.assignability import accepts, is_assignable, why_not
from penstock.harness import ArtifactLabel, Serializer
from penstock.serializers import serializer_for, serializer_name, serializer_problem
from penstock.signatures import Parameter, Signature, UnsupportedAnnotation, class_hints, evaluate, signature_of
from penstock.spec import Encoded, FieldSpec, OutputSpec, Returns, TypeKind, TypeSpec
from penstock.values import encode

__all__ = [
    "Parameter",
    "Signature",
    "UnsupportedAnnotation",
    "accepts",
    "description_of",
    "is_assignable",
    "returns_of",
    "serializers_in",
    "signature_of",
    "type_of",
    "why_not",
]

# Gives a class or function its canonical `module:qualname`.
NameOf = Callable[[Any], str]
_NOWHERE: Final[Mapping[str, object]] = types.MappingProxyType({})

_PLAIN: Final[Mapping[object, TypeKind]] = {
    bool: TypeKind.BOOL,
    int: TypeKind.INT,
    float: TypeKind.FLOAT,
    str: TypeKind.STR,
    bytes: TypeKind.BYTES,
    dt.datetime: TypeKind.DATETIME,
    dt.date: TypeKind.DATE,
    dt.time: TypeKind.TIME,
    dt.timedelta: TypeKind.TIMEDELTA,
    decimal.Decimal: TypeKind.DECIMAL,
    uuid.UUID: TypeKind.UUID,
}
_CONTAINERS: Final[Mapping[object, TypeKind]] = {
    list: TypeKind.LIST,
    tuple: TypeKind.TUPLE,
    set: TypeKind.SET,
    frozenset: TypeKind.FROZENSET,
    dict: TypeKind.DICT,
}
# An abstract container is the union of the concrete ones that a value can arrive as. `str` is left out on purpose: a
# lone string where a sequence of strings is expected is a mistake.
_ABSTRACT: Final[Mapping[object, tuple[type, ...]]] = {
    abc.Sequence: (list, tuple),
    abc.MutableSequence: (list,),
    abc.Reversible: (list, tuple),
    abc.Iterable: (list, tuple, set, frozenset),
    abc.Collection: (list, tuple, set, frozenset),
    abc.Container: (list, tuple, set, frozenset),
    abc.Set: (set, frozenset),
    abc.MutableSet: (set,),
    abc.Mapping: (dict,),
    abc.MutableMapping: (dict,),
}
# What no process can hand to another, and what to write instead.
_STUCK: Final[Mapping[object, tuple[str, str]]] = {
    abc.Callable: ("a function cannot travel", "import it in the step that calls it, or pass its name as a `str`"),
    abc.Iterator: ("an iterator cannot travel", "use a list"),
    abc.Generator: ("a generator cannot travel", "use a list"),
    abc.AsyncIterator: ("an asynchronous iterator cannot travel", "use a list"),
    abc.AsyncIterable: ("an asynchronous iterable cannot travel", "use a list"),
    abc.AsyncGenerator: ("an asynchronous generator cannot travel", "use a list"),
    abc.Awaitable: ("an awaitable cannot travel", "annotate what it gives when awaited"),
    abc.Coroutine: ("a coroutine cannot travel", "annotate what it gives when awaited"),
    abc.KeysView: ("a view of a dict cannot travel", "use a list"),
    abc.ValuesView: ("a view of a dict cannot travel", "use a list"),
    abc.ItemsView: ("a view of a dict cannot travel", "use a list"),
    type: ("a class cannot travel", "import it in the step that uses it, or pass its name as a `str`"),
    types.ModuleType: ("a module cannot travel", "import it in the step that uses it"),
    types.FunctionType: ("a function cannot travel", "import it in the step that calls it"),
}
# How a text is written that is labelled as something to look at: as it is, for a browser or an engine's page.
_TEXTS: Final = {"Report": "html", "Markdown": "markdown"}
_PAGES: Final = (TypeKind.STR, TypeKind.PATH, TypeKind.ANY)
_NEVER: Final = ("NoReturn", "Never")
_QUALIFIERS: Final = ("Required", "NotRequired", "ReadOnly", "Final")
# In a class's bases these say nothing about values, or are there in some Python versions only.
_SILENT_BASES: Final = (object, typing.Generic, typing.Protocol, getattr(enum, "ReprEnum", object))


def type_of(annotation: object, *, name_of: NameOf, namespace: Mapping[str, object] = _NOWHERE) -> TypeSpec:
    """The type that an evaluated annotation says.

    Args:
        annotation: a type, or anything else that `typing` allows as one.
        name_of: gives a class's ``module:qualname``, the same in every process.
        namespace: names that fields of classes defined in a function may refer to.

    Raises:
        UnsupportedAnnotation: its values could not travel between steps, or it says too little.
    """
    return _Reader(name_of, namespace).read(annotation)


def returns_of(
    annotation: object, *, name_of: NameOf, namespace: Mapping[str, object] = _NOWHERE
) -> tuple[Returns, tuple[OutputSpec, ...]]:
    """How a return annotation divides into outputs.

    ``None`` gives none; a `NamedTuple` or a dataclass one for each field; ``tuple[A, B]`` gives ``output_0`` and
    ``output_1``; anything else, and all that carries a label or a serializer, is one called ``output``. Raises as
    `type_of` does.
    """
    spec = type_of(annotation, name_of=name_of, namespace=namespace)
    if spec.kind is TypeKind.NONE:
        return Returns(kind="none"), ()
    if not spec.label and not spec.serializer:
        if spec.kind is TypeKind.TUPLE and spec.args and not spec.variadic:
            return Returns(kind="tuple"), tuple(OutputSpec(name=f"output_{n}", type=t) for n, t in enumerate(spec.args))
        if spec.kind in (TypeKind.NAMEDTUPLE, TypeKind.DATACLASS) and spec.fields:
            kind: Literal["namedtuple", "dataclass"] = "namedtuple" if spec.kind is TypeKind.NAMEDTUPLE else "dataclass"
            return Returns(kind=kind, type=spec.name), tuple(OutputSpec(name=f.name, type=f.type) for f in spec.fields)
    return Returns(kind="value"), (OutputSpec(name="output", type=spec),)


def description_of(annotation: object) -> str:
    """What the author says of a parameter: the first string in ``Annotated[int, "how deep to grow"]``, or nothing."""
    texts = (each for each in getattr(annotation, "__metadata__", ()) if isinstance(each, str))
    return next(texts, "")


def serializers_in(annotation: object) -> tuple[Serializer[Any], ...]:
    """The author's own serializers that an evaluated annotation carries, at any depth."""
    found = {each: None for each in getattr(annotation, "__metadata__", ()) if isinstance(each, Serializer)}
    inner = (annotation.__value__,) if _is_alias(annotation) else getattr(annotation, "__args__", ())
    for part in inner if typing.get_origin(annotation) is not Literal else ():
        found.update(dict.fromkeys(serializers_in(part)))
    return tuple(found)


@dataclass
class _Progress:
    """The classes and aliases that are being read, outermost first, and which of them refer to themselves."""

    open: list[object] = field(default_factory=list)
    recursive: set[object] = field(default_factory=set)


@dataclass(frozen=True)
class _Reader:
    """Reads one annotation; ``variables`` is what type variables stand for, or None where there can be none."""

    name_of: NameOf
    namespace: Mapping[str, object]
    variables: Mapping[object, TypeSpec] | None = None
    progress: _Progress = field(default_factory=_Progress)

    def read(self, annotation: Any) -> TypeSpec:  # noqa: C901  # one line for each form that `typing` has
        origin, args = typing.get_origin(annotation), typing.get_args(annotation)
        if annotation is None or annotation is type(None):
            return TypeSpec(kind=TypeKind.NONE, text="None")
        if annotation is Any or _is_class(annotation, "typing_extensions", "Any"):
            return TypeSpec(kind=TypeKind.ANY, serializer="any", text="Any")
        if isinstance(annotation, (str, typing.ForwardRef)):
            return self.read(evaluate(annotation, self.namespace))
        if isinstance(annotation, TypeVar):
            return self._variable(annotation)
        if _is_alias(origin or annotation):
            return self._alias(origin or annotation, args)
        if hasattr(annotation, "__supertype__"):
            return self.read(annotation.__supertype__)
        if origin is Annotated:
            return self._annotated(args[0], annotation.__metadata__)
        if origin in (Union, types.UnionType):
            return _union([self.read(each) for each in args])
        if origin is Literal:
            return self._literal(args)
        if _name(origin) in _QUALIFIERS:
            return self.read(args[0])
        if _name(annotation) == "LiteralString":
            return self.read(str)
        if isinstance(origin or annotation, type):
            return self._class(origin or annotation, args, bare=not hasattr(annotation, "__args__"))
        raise _refusal(annotation)

    # --- forms of typing ---

    def _variable(self, variable: TypeVar) -> TypeSpec:
        if self.variables is None:
            message = f"the type variable `{variable.__name__}` says nothing about the values"
            raise UnsupportedAnnotation(message, "write a type: each step takes and returns types of its own")
        return self.variables.get(variable, _ANY)

    def _alias(self, alias: Any, args: tuple[object, ...]) -> TypeSpec:
        if alias in self.progress.open:
            return TypeSpec(kind=TypeKind.ANY, serializer="any", text=alias.__name__)
        variables = dict(zip(alias.__type_params__, map(self.read, args), strict=False))
        around = {**vars(sys.modules.get(alias.__module__, types)), alias.__name__: alias, **self.namespace}
        reader = dataclasses.replace(self, variables=variables, namespace=around)
        self.progress.open.append(alias)
        try:
            return reader.read(alias.__value__)
        except NameError as error:
            raise UnsupportedAnnotation(
                f"the alias `{alias.__name__}` cannot be evaluated: {error}", "define what it refers to in its module"
            ) from error
        finally:
            self.progress.open.pop()

    def _annotated(self, inner: object, metadata: tuple[object, ...]) -> TypeSpec:
        labels = [each.name for each in metadata if isinstance(each, ArtifactLabel)]
        serializers = [each for each in metadata if isinstance(each, Serializer)]
        if labels and isinstance(inner, TypeVar) and inner not in (self.variables or ()):
            message = f"`{labels[-1]}` does not say what it is made of"
            raise UnsupportedAnnotation(message, f"write its type, for instance `{labels[-1]}[Path]`")
        spec = self.read(inner)
        if serializers:
            problem = serializer_problem(serializers[-1])
            if problem:
                raise UnsupportedAnnotation(problem, "define `save(value, path)` and `load(path)` at a module's top")
            spec = spec.model_copy(update={"serializer": serializer_name(serializers[-1], self.name_of)})
        if labels:
            if labels[-1] in _TEXTS and not _is_page(spec):
                message = f"`{labels[-1]}[{spec.text}]` cannot be shown: a page is a text or a file"
                fix = (
                    f"write `{labels[-1]}[str]` or `{labels[-1]}[Path]`, or give the type a `Serializer` that writes it"
                )
                raise UnsupportedAnnotation(message, fix)
            spec = spec.model_copy(update={"label": labels[-1], "text": f"{labels[-1]}[{spec.text}]"})
            if spec.kind is TypeKind.STR and not spec.serializer:
                spec = spec.model_copy(update={"serializer": _TEXTS.get(labels[-1], "")})
        return spec

    def _literal(self, values: tuple[Any, ...]) -> TypeSpec:
        texts = (f"{type(v).__name__}.{v.name}" if isinstance(v, enum.Enum) else repr(v) for v in values)
        encoded = tuple(encode(value, self.name_of) for value in values)
        return TypeSpec(kind=TypeKind.LITERAL, values=encoded, text=f"Literal[{', '.join(texts)}]")

    # --- classes ---

    def _class(self, cls: Any, args: tuple[Any, ...], *, bare: bool) -> TypeSpec:
        if cls in _PLAIN:
            return TypeSpec(kind=_PLAIN[cls], text=cls.__name__)
        if cls in _CONTAINERS:
            return self._container(cls, args, bare=bare)
        if cls in _ABSTRACT:
            return self._abstract(cls, args)
        if issubclass(cls, os.PathLike):
            return TypeSpec(kind=TypeKind.PATH, serializer="path", text=cls.__name__)
        if cls in _STUCK or issubclass(cls, (io.IOBase, typing.IO)):
            raise _refusal(cls)
        if _is_structural(cls):
            return TypeSpec(kind=TypeKind.ANY, name=self.name_of(cls), serializer="any", text=cls.__name__)
        return self._named(cls, args)

    def _container(self, cls: type, args: tuple[Any, ...], *, bare: bool) -> TypeSpec:
        if cls is tuple:
            return self._tuple(args, bare=bare)
        items = tuple(self.read(arg) for arg in args)
        text = f"{cls.__name__}[{', '.join(item.text for item in items)}]" if items else cls.__name__
        return TypeSpec(kind=_CONTAINERS[cls], args=items or (_ANY,) * (1 + (cls is dict)), text=text)

    def _tuple(self, args: tuple[Any, ...], *, bare: bool) -> TypeSpec:
        if bare:
            return TypeSpec(kind=TypeKind.TUPLE, args=(_ANY,), variadic=True, text="tuple")
        if args in ((), ((),)):  # Python 3.10 gives `typing.Tuple[()]` the argument `()`
            return TypeSpec(kind=TypeKind.TUPLE, text="tuple[()]")
        variadic = args[-1] is Ellipsis
        items = tuple(self.read(arg) for arg in args if arg is not Ellipsis)
        text = ", ".join([*(item.text for item in items), *["..."] * variadic])
        return TypeSpec(kind=TypeKind.TUPLE, args=items, variadic=variadic, text=f"tuple[{text}]")

    def _abstract(self, cls: type, args: tuple[Any, ...]) -> TypeSpec:
        items = [self.read(arg) for arg in args]
        text = f"{cls.__name__}[{', '.join(item.text for item in items)}]" if items else cls.__name__
        concrete = [
            self._container(each, (*args, ...) if args and each is tuple else args, bare=not args)
            for each in _ABSTRACT[cls]
        ]
        return _union(concrete).model_copy(update={"text": text})

    def _named(self, cls: Any, args: tuple[Any, ...]) -> TypeSpec:
        kind = _kind_of(cls)
        if kind is TypeKind.PYDANTIC and "[" in cls.__name__:
            fix = f"give it a name: `class {cls.__name__.partition('[')[0]}Of...({cls.__name__}): ...`"
            raise UnsupportedAnnotation(f"`{cls.__name__}` has no name that another process could find it by", fix)
        spec = TypeSpec(kind=kind, name=self.name_of(cls), bases=self._bases(cls), text=_short_text(cls, args))
        if kind is TypeKind.OBJECT:
            return spec.model_copy(update={"serializer": serializer_for(cls)})
        if kind is TypeKind.ENUM:
            members = tuple(each.name for each in cls)
            return spec.model_copy(update={"members": members, "values": self._enum_values(cls)})
        return spec.model_copy(update={"fields": self._fields(cls, args, kind)})

    def _bases(self, cls: type) -> tuple[str, ...]:
        return tuple(self.name_of(base) for base in cls.__mro__[1:] if base not in _SILENT_BASES)

    def _enum_values(self, cls: type[enum.Enum]) -> tuple[Encoded, ...]:
        try:
            return tuple(encode(each.value, self.name_of) for each in cls)
        except TypeError:
            return ()

    def _fields(self, cls: Any, args: tuple[Any, ...], kind: TypeKind) -> tuple[FieldSpec, ...]:
        progress = self.progress
        if cls in progress.open:
            progress.recursive.add(cls)
        if cls in progress.recursive:
            return ()
        own = dict(zip(getattr(cls, "__parameters__", ()), map(self.read, args), strict=False))
        inherited = set() if kind is TypeKind.TYPEDDICT else _inherited(cls)
        progress.open.append(cls)
        try:
            return tuple(
                FieldSpec(name=name, type=self._with({} if name in inherited else own).read(hint), required=required)
                for name, hint, required in _FIELDS_OF[kind](cls, self.namespace)
            )
        except UnsupportedAnnotation as error:
            raise UnsupportedAnnotation(f"class `{cls.__name__}`: {error.message}", error.fix) from error
        finally:
            progress.open.pop()
            # Within a recursive class others stay unread as well, or a family of n such classes would be read n! times.
            if not progress.recursive & set(progress.open):
                progress.recursive.clear()

    def _with(self, variables: Mapping[object, TypeSpec]) -> _Reader:
        return dataclasses.replace(self, variables=variables)


_ANY: Final = TypeSpec(kind=TypeKind.ANY, serializer="any", text="Any")


def _union(members: list[TypeSpec]) -> TypeSpec:
    flat = [part for member in members for part in (member.args if member.kind is TypeKind.UNION else (member,))]
    distinct = tuple(part for index, part in enumerate(flat) if part not in flat[:index])
    if len(distinct) == 1:
        return distinct[0]
    return TypeSpec(kind=TypeKind.UNION, args=distinct, text=" | ".join(dict.fromkeys(each.text for each in members)))


def _is_page(type_: TypeSpec) -> bool:
    """Whether its values may be something to look at: texts, files, or what the author's own serializer writes."""
    if type_.kind is TypeKind.UNION:
        return all(each.kind is TypeKind.NONE or _is_page(each) for each in type_.args)
    return type_.kind in _PAGES or bool(type_.serializer and "," in type_.serializer)


def _refusal(annotation: Any) -> UnsupportedAnnotation:
    name = _name(annotation) or str(annotation)
    if name in _NEVER:
        return UnsupportedAnnotation(f"`{name}`: a step that never returns has nothing to depend on", "write `-> None`")
    if annotation in _STUCK:
        reason, fix = _STUCK[annotation]
        return UnsupportedAnnotation(f"`{name}`: {reason} from one step to another", fix)
    if isinstance(annotation, type):
        return UnsupportedAnnotation(f"`{name}`: an open file cannot travel from one step to another", "use its `Path`")
    return UnsupportedAnnotation(f"`{annotation}` is no type that values can be checked against", "write a class")


def _name(form: object) -> str:
    return str(getattr(form, "__name__", None) or getattr(form, "_name", None) or "")


def _is_alias(annotation: object) -> typing.TypeGuard[Any]:
    return type(annotation).__name__ == "TypeAliasType"


def _is_class(cls: object, module: str, name: str) -> bool:
    return isinstance(cls, type) and cls.__module__.partition(".")[0] == module and cls.__qualname__ == name


def _is_structural(cls: type) -> bool:
    """Whether a class is a matter of what values can do, not of what they inherit, which names cannot tell."""
    return bool(getattr(cls, "_is_protocol", False)) or cls.__module__ in ("numbers", "collections.abc")


def _kind_of(cls: type) -> TypeKind:
    if type(cls).__name__ == "_TypedDictMeta":
        return TypeKind.TYPEDDICT
    if issubclass(cls, enum.Enum):
        return TypeKind.ENUM
    if any(base.__module__ == "pydantic.main" and base.__qualname__ == "BaseModel" for base in cls.__mro__):
        return TypeKind.PYDANTIC
    if dataclasses.is_dataclass(cls):
        return TypeKind.DATACLASS
    if issubclass(cls, tuple) and hasattr(cls, "_fields"):
        return TypeKind.NAMEDTUPLE
    return TypeKind.OBJECT


def _short_text(cls: type, args: tuple[Any, ...]) -> str:
    names = [getattr(arg, "__name__", "") for arg in args]
    return f"{cls.__name__}[{', '.join(names)}]" if names and all(names) else cls.__name__


# --- fields: (name, evaluated annotation, whether it must be given) ---

_Fields = Iterable[tuple[str, Any, bool]]


def _dataclass_fields(cls: Any, namespace: Mapping[str, object]) -> _Fields:
    hints = class_hints(cls, namespace)
    for each in dataclasses.fields(cls):
        missing = each.default is dataclasses.MISSING and each.default_factory is dataclasses.MISSING
        yield each.name, hints[each.name], each.init and missing


def _namedtuple_fields(cls: Any, namespace: Mapping[str, object]) -> _Fields:
    hints = class_hints(cls, namespace)
    return ((name, hints.get(name, Any), name not in cls._field_defaults) for name in cls._fields)


def _typeddict_fields(cls: Any, namespace: Mapping[str, object]) -> _Fields:
    for name, hint in class_hints(cls, namespace).items():
        # `__required_keys__` does not see `NotRequired` where annotations are strings.
        said = _name(typing.get_origin(hint))
        yield name, hint, said == "Required" or (name in cls.__required_keys__ and said != "NotRequired")


def _pydantic_fields(cls: Any, namespace: Mapping[str, object]) -> _Fields:
    if not cls.__pydantic_complete__:
        cls.model_rebuild(raise_errors=False, _types_namespace=dict(namespace))
    for name, each in cls.model_fields.items():
        yield name, each.annotation, each.is_required()


_FIELDS_OF: Final[Mapping[TypeKind, Callable[[Any, Mapping[str, object]], _Fields]]] = {
    TypeKind.DATACLASS: _dataclass_fields,
    TypeKind.NAMEDTUPLE: _namedtuple_fields,
    TypeKind.TYPEDDICT: _typeddict_fields,
    TypeKind.PYDANTIC: _pydantic_fields,
}


def _inherited(cls: type) -> set[str]:
    """Fields whose type variables are those of a base, not of the class."""
    own = inspect.get_annotations(cls)
    return {name for base in cls.__mro__[1:-1] for name in inspect.get_annotations(base) if name not in own}
