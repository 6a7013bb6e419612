"""Which objects live in one process only, so that a step in another can't have them."""

from __future__ import annotations

import ast
import io
import sys
from typing import Any

from penstock.modules import Module
from penstock.references import dotted

# By name, so that this imports none of their modules: what is not loaded has no objects.
_LIVE_TYPES = {
    "socket.socket": "a socket",
    **dict.fromkeys(("_thread.lock", "_thread.RLock"), "a lock"),
    **dict.fromkeys((f"threading.{name}" for name in ("Event", "Condition", "Semaphore", "Barrier")), "a lock"),
    **dict.fromkeys(("threading.Thread", "subprocess.Popen"), "a running thread or process"),
    **dict.fromkeys(("concurrent.futures._base.Executor", "asyncio.events.AbstractEventLoop"), "a pool of workers"),
    **dict.fromkeys((f"builtins.{name}" for name in ("generator", "async_generator", "coroutine")), "a generator"),
    "mmap.mmap": "an open file",
}
_LIVE_CALLS = {
    "open": "an open file",
    "io.open": "an open file",
    "socket.socket": "a socket",
    "socket.create_connection": "a socket",
    "sqlite3.connect": "a database connection",
    "threading.Lock": "a lock",
    "threading.RLock": "a lock",
    "threading.Thread": "a running thread or process",
    "subprocess.Popen": "a running thread or process",
}
_CONNECTIONS = {"connection", "cursor"}


def is_live(value: Any) -> str:
    """What kind of live object a value is, as a message names it; '' for one that is not."""
    if type(value).__module__.partition(".")[0] == "penstock":
        return "pipeline" if type(value).__name__ in ("Pipeline", "Step") else ""
    for cls in type(value).__mro__:
        if f"{cls.__module__}.{cls.__qualname__}" in _LIVE_TYPES:
            return _LIVE_TYPES[f"{cls.__module__}.{cls.__qualname__}"]
    if _is_open_file(value):
        return "an open file"
    names = {cls.__name__.lower() for cls in type(value).__mro__ if cls.__module__ != "builtins"}
    return "a database connection" if names & _CONNECTIONS else ""


def _is_open_file(value: Any) -> bool:
    if value in (sys.stdin, sys.stdout, sys.stderr) if isinstance(value, io.IOBase) else False:
        return False
    wrapped = isinstance(value, io.IOBase) or type(value).__name__ == "_TemporaryFileWrapper"
    return wrapped and not isinstance(value, (io.StringIO, io.BytesIO)) and not value.closed


def built_live(statement: ast.stmt, name: str, module: Module) -> str:
    """As `is_live`, for a name that is not bound yet: judged by the expression that it will be bound to."""
    if not isinstance(statement, (ast.Assign, ast.AnnAssign)) or statement.value is None:
        return ""
    targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
    if not any(isinstance(target, ast.Name) and target.id == name for target in targets):
        return ""
    if isinstance(statement.value, ast.GeneratorExp):
        return "a generator"
    path = dotted(statement.value.func) if isinstance(statement.value, ast.Call) else ()
    if not path:
        return ""
    full = [".".join((each.module, *each.path, *path[1:])) for each in module.aliases.get(path[0], ())]
    if path == ("open",) and not module.binds("open"):
        full.append("open")
    return next((_LIVE_CALLS[each] for each in full if each in _LIVE_CALLS), "")
