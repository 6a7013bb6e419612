"""What of a module's statements belongs to the program of one step."""

from __future__ import annotations

import ast

from penstock import harness
from penstock.spec import Statement


def reached_part(statement: Statement, names: set[str]) -> Statement | None:
    """A top-level statement as far as it binds any of ``names``; None where it does not.

    Of an import it is the aliases that do; what is kept whole stays as it was written.
    """
    node = ast.parse(statement.source).body[0]
    if not harness.belongs(node, names):
        return None
    small = harness.trimmed(node, names)
    if ast.dump(small) == ast.dump(node):
        return statement
    return statement.model_copy(update={"source": ast.unparse(small)})
