"""A report's content as HTML: one file, whose only script and style are those that it names by their hashes."""

from __future__ import annotations

import base64
import hashlib
from importlib import resources

import jinja2
from markupsafe import Markup

from penstock.svg import DARK, ICONS, LIGHT, STATES, STYLE
from penstock_backends.local.report.content import Content
from penstock_backends.local.report.states import WORDS


def page(content: Content) -> str:
    """The page of a report."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("penstock_templates", "."),
        undefined=jinja2.StrictUndefined,
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    style, script = _style(), _text("report.js")
    return environment.get_template("report.html.jinja").render(
        report=content,
        words=WORDS,
        icons=ICONS,
        style=Markup(style),  # noqa: S704  # this project's own, as are the script and what draws the pictures
        script=Markup(script),  # noqa: S704
        markup=Markup,
        policy=_policy(style, script),
    )


def _text(name: str) -> str:
    return resources.files("penstock_templates").joinpath(name).read_text(encoding="utf-8")


def _style() -> str:
    states = "".join(f".{each} {{ --state: var(--{each}); }}\n" for each in STATES)
    dark = f":root:not([data-theme=light]) {{ {DARK} color-scheme: dark; }}"
    chosen = f":root[data-theme=dark] {{ {DARK} color-scheme: dark; }}"
    by_system = f"@media screen and (prefers-color-scheme: dark) {{ {dark} }}"
    return f":root {{ {LIGHT} }}\n{by_system}\n@media screen {{ {chosen} }}\n" + states + STYLE + _text("report.css")


def _policy(style: str, script: str) -> str:
    """What a browser may load for the page: nothing but this style and this script."""
    return (
        f"default-src 'none'; img-src data:; style-src {_hash(style)}; script-src {_hash(script)}; "
        "base-uri 'none'; form-action 'none'"
    )


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
