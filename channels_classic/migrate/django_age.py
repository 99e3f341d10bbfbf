"""Finds what is older than Django 5.2 in a project: django-upgrade rewrites most of it, the rest is listed."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping

from .report import Section

COMMAND = "django-upgrade --target-version 5.2 $(git ls-files '*.py')"

REWRITTEN_IMPORTS: Mapping[str, frozenset[str]] = {
    "django.conf.urls": frozenset({"include", "url"}),
    "django.core.urlresolvers": frozenset({"*"}),
    "django.utils.encoding": frozenset({"force_text", "smart_text"}),
    "django.utils.translation": frozenset({"ugettext", "ugettext_lazy", "ungettext", "ungettext_lazy"}),
}
"""Imports that show that django-upgrade has work to do."""

REMOVED_IMPORTS: Mapping[str, tuple[frozenset[str], str]] = {
    "django.conf.urls": (frozenset({"patterns"}), "Django has no patterns() any more: make urlpatterns a list."),
    "django.contrib.auth.views": (
        frozenset({"login", "logout", "password_change", "password_reset"}),
        "The login views are classes now, such as LoginView.as_view().",
    ),
    "django.shortcuts": (
        frozenset({"render_to_response"}),
        "Django has no render_to_response() any more: call render() with the request.",
    ),
    "django.utils.encoding": (
        frozenset({"python_2_unicode_compatible"}),
        "Remove python_2_unicode_compatible: Python 3 needs no such decorator.",
    ),
    "django.utils": (frozenset({"six"}), "Django has no six any more: write Python 3."),
    "django.utils.six": (frozenset({"*"}), "Django has no six any more: write Python 3."),
}
"""Imports that django-upgrade leaves alone: module → names, and what to do."""

CALLED_PROPERTIES = ("is_anonymous", "is_authenticated")

STATICFILES_TAG = re.compile(r"{%\s*load\s[^%]*\b(staticfiles|admin_static)\b")


def needs_django_upgrade(tree: ast.Module) -> bool:
    """Return True if django-upgrade would rewrite something that Django 5.2 does not accept."""
    return any(
        (isinstance(node, ast.ImportFrom) and _names(node, REWRITTEN_IMPORTS.get(node.module or "", frozenset())))
        or (isinstance(node, ast.Call) and _is_relation_without_on_delete(node))
        for node in ast.walk(tree)
    )


def findings(tree: ast.Module) -> Iterator[tuple[int, str, Section]]:
    """Yield line, sentence and section for what django-upgrade leaves to people."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            module = node.module or ""
            if module.startswith("django.utils.six."):
                module = "django.utils.six"
            names, sentence = REMOVED_IMPORTS.get(module, (frozenset[str](), ""))
            if _names(node, names):
                yield node.lineno, sentence, "django"
        elif isinstance(node, ast.Call) and _includes_admin_site(node):
            yield node.lineno, "Django includes no admin.site.urls any more: write it without include().", "django"
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            if node.func.attr in CALLED_PROPERTIES and not node.args:
                yield (
                    node.lineno,
                    f"`{node.func.attr}` is a property since Django 2.0: write it without brackets.",
                    "django",
                )
            elif node.func.attr == "is_ajax":
                yield node.lineno, "Requests have no is_ajax() any more: compare the header X-Requested-With.", "django"


def template_findings(text: str) -> Iterator[tuple[int, str, Section]]:
    """Yield line, sentence and section for what a template loads that is gone."""
    for number, line in enumerate(text.splitlines(), 1):
        if found := STATICFILES_TAG.search(line):
            yield number, f"The tag library {found[1]} is gone: write {{% load static %}}.", "django"


def _is_relation_without_on_delete(call: ast.Call) -> bool:
    name = call.func.attr if isinstance(call.func, ast.Attribute) else ""
    keywords = {keyword.arg for keyword in call.keywords}
    return name in ("ForeignKey", "OneToOneField") and len(call.args) < 2 and not keywords & {"on_delete", None}


def _includes_admin_site(call: ast.Call) -> bool:
    """Return True for `include(admin.site.urls)`."""
    match call:
        case ast.Call(func=ast.Name(id="include"), args=[ast.Attribute(value=ast.Attribute(attr="site"), attr="urls")]):
            return True
    return False


def _names(node: ast.ImportFrom, names: frozenset[str]) -> bool:
    return "*" in names or any(alias.name in names for alias in node.names)
