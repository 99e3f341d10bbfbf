"""Reads a project and works out its migration, without writing anything."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from functools import partial
from itertools import takewhile
from pathlib import Path

from . import alias_line, code_findings, command_lines, django_age, requirements
from .command_lines import NamedSettings
from .files import FileKind, decoded, project_files
from .generation import before_1_0
from .names import Generation
from .python_files import PythonFile, parsed, rewritten
from .report import FileChange, Finding, LeftAlone, MigrationReport, Section

OWN_PACKAGE = (
    "This is a package of the project called channels, so imports of that name are not those of Channels 1.x: "
    "rename it first. No Python file was changed."
)
NO_SETTINGS = (
    "No settings module was found: write `import channels_classic.compat` on the first line of the package that "
    "holds the settings."
)
ALIAS_BESIDE_MODERN = (
    "The project also uses Channels 2 to 4, whose name the alias line would take: run this command without --alias."
)


class Plan:
    """Works out the migration of the project at `root`, into `report`."""

    def __init__(self, root: Path, *, alias: bool) -> None:
        base = root if root.is_dir() else root.parent
        self.report = MigrationReport("" if base == Path() else f"{base.as_posix()}/")
        self._base, self._alias, self._is_one_file = base, alias, root.is_file()
        self._files: list[tuple[str, FileKind, bytes]] = []
        for path, kind in project_files(root):
            try:
                self._files.append((path, kind, (base / path).read_bytes()))
            except OSError as error:
                self.report.findings.append(
                    Finding(path, 1, f"This file cannot be read: {error.strerror}.", "the-steps")
                )
        self._python: dict[str, PythonFile] = {}

    def make(self) -> MigrationReport:
        """Return the report."""
        for path, kind, content in self._files:
            if kind is FileKind.PYTHON:
                file = parsed(path, content)
                if isinstance(file, Finding):
                    self.report.findings.append(file)
                else:
                    self._python[path] = file
        self._python_files()
        for path, kind, content in self._files:
            text = decoded(content)[0]
            if kind is FileKind.REQUIREMENTS:
                self._text(path, content, requirements.rewrite(text, modern_project=self._is_modern()))
            elif kind is FileKind.COMMANDS:
                self._text(path, content, command_lines.rewrite(text, partial(self._settings_of, path)))
                self._find(path, requirements.install_findings(text, modern_project=self._is_modern()))
            if kind is FileKind.PACKAGING or path.rpartition("/")[2] == "setup.py":
                self._find(path, requirements.packaging_findings(text, modern_project=self._is_modern()))
            elif kind is FileKind.TEMPLATE:
                self._find(path, django_age.template_findings(text))
        return self.report

    # Python

    def _python_files(self) -> None:
        own = [path for path in self._python if path in self._own_packages()]
        if own:
            self.report.findings.append(Finding(own[0], 1, OWN_PACKAGE, "names-without-a-counterpart"))
            return
        places = self._alias_places()
        exports = self._is_one_file or any(file.reaches_channels for file in self._python.values())
        for path, file in self._python.items():
            if not self._is_left_alone(file):
                content, encoding, findings = rewritten(
                    file, alias=self._alias, needs_line=path in places, exports=exports
                )
                self.report.findings += findings
                if file.classic or not self._is_modern():
                    self._find(path, code_findings.versions(file.tree))
                if content != file.content:
                    self.report.changes.append(FileChange(path, file.content, content, encoding))
            self._find(path, django_age.findings(file.tree))
            self._find(path, code_findings.commands(file.tree, modern_project=self._is_modern()))
            if file.classic is not None or b"channels_classic" in file.content:
                self._find(path, before_1_0(file.tree))
        old = sum(django_age.needs_django_upgrade(file.tree) for file in self._python.values())
        if old:
            self.report.notes.append(
                f"{old} Python file{'s are' if old > 1 else ' is'} older than Django 5.2. After this: "
                f"pip install django-upgrade && {django_age.COMMAND}"
            )

    def _own_packages(self) -> Iterable[str]:
        """Return the files that imports of `channels` would find; not those in the folder of an app."""
        folders = {path.removesuffix("manage.py") for path in self._python if path.rpartition("/")[2] == "manage.py"}
        if not (self._base / "__init__.py").exists():
            folders.add("")
        return {f"{folder}{name}" for folder in folders for name in ("channels.py", "channels/__init__.py")}

    def _is_left_alone(self, file: PythonFile) -> bool:
        """Return True for a file of Channels 2 to 4, and for one that may be; say so in the report."""
        modern, classic = file.modern, file.classic
        if modern is None and (classic is not None or not file.evidence or not self._is_modern()):
            return False
        if modern is None:
            self._leave_shared(file)
            return True
        reason = f"`{modern.name}` in line {modern.line} belongs to {Generation.MODERN.value}."
        if classic is not None:
            reason = reason.rstrip(".") + f", `{classic.name}` in line {classic.line} to {Generation.CLASSIC.value}."
            sentence = "This file has names of Channels 1.x and of Channels 2 to 4: separate them."
            self.report.findings.append(Finding(file.path, classic.line, sentence, "channels-2-to-4"))
        self.report.left_alone.append(LeftAlone(file.path, reason))
        return True

    def _leave_shared(self, file: PythonFile) -> None:
        """Leave a file alone whose names belong to Channels of any release; ask if the project has code for both."""
        name, line = file.evidence[0].name, file.evidence[0].line
        if any(each.classic for each in self._python.values()):
            sentence = f"`{name}` is a name of Channels of any release, and this project has code for both."
            self.report.findings.append(Finding(file.path, line, sentence, "channels-2-to-4"))
        else:
            reason = f"`{name}` in line {line} is taken for {Generation.MODERN.value}, as the rest of the project."
            self.report.left_alone.append(LeftAlone(file.path, reason))

    def _is_modern(self) -> bool:
        return any(file.modern is not None for file in self._python.values())

    def _alias_places(self) -> set[str]:
        if not self._alias:
            return set()
        modern = next((file for file in self._python.values() if file.modern), None)
        if modern is not None and modern.modern is not None:
            finding = Finding(modern.path, modern.modern.line, ALIAS_BESIDE_MODERN, "channels-2-to-4")
            self.report.findings.append(finding)
            return set()
        classic = [path for path, file in self._python.items() if file.classic]
        places = set(alias_line.places(self._settings_modules(), self._python.keys(), classic))
        if not places:
            self.report.findings.append(Finding("manage.py", 1, NO_SETTINGS, "the-alias-line"))
        return places

    def _settings_modules(self) -> list[str]:
        """Return the settings modules that are named: by entry points first, then by the configuration of tests."""
        entry = [file.tree for path, file in self._python.items() if path.rpartition("/")[2] in alias_line.ENTRY_POINTS]
        tests = [decoded(content)[0] for _, kind, content in self._files if kind is FileKind.PACKAGING]
        names = [name for tree in entry for name, _ in alias_line.modules_in_code(tree) if name]
        names += [name for text in tests for name in alias_line.modules_in_configuration(text)]
        return list(dict.fromkeys(names))

    # Other files

    def _settings_of(self, near: str, module: str) -> NamedSettings | None:
        """Return the settings that a module such as `mysite.asgi` names, or None if it is not of Channels 1.x.

        Of several modules of that name those count that are nearest to the file `near`.
        """
        name = module.replace(".", "/") + ".py"
        paths = [path for path, kind, _ in self._files if kind is FileKind.PYTHON and f"/{path}".endswith(f"/{name}")]
        nearest = max((_common(path, near) for path in paths), default=0)
        files = [self._python.get(path) for path in paths if _common(path, near) == nearest]
        if not files or not all(file and file.classic and not file.modern for file in files):
            return None
        found = {named for file in files if file for named in alias_line.modules_in_code(file.tree)}
        names = {name for name, _ in found}
        return NamedSettings(*found.pop()) if len(found) == 1 and "" not in names else NamedSettings()

    def _text(
        self, path: str, content: bytes, result: requirements.RewrittenRequirements | command_lines.RewrittenCommands
    ) -> None:
        _, mark, encoding = decoded(content)
        after = mark + result.text.encode(encoding, "surrogateescape")
        if after != content:
            self.report.changes.append(FileChange(path, content, after, encoding))
        self._find(path, result.findings)
        for line, what in result.modern:
            reason = f"`{what}` in line {line} belongs to {Generation.MODERN.value}."
            self.report.left_alone.append(LeftAlone(path, reason))

    def _find(self, path: str, found: Iterable[tuple[int, str, Section]]) -> None:
        self.report.findings += [Finding(path, line, sentence, section) for line, sentence, section in found]


def _common(path: str, other: str) -> int:
    """Return how many folders two paths have in common."""
    pairs = zip(path.split("/")[:-1], other.split("/")[:-1], strict=False)
    return len(list(takewhile(lambda pair: pair[0] == pair[1], pairs)))


def plan(root: Path, *, alias: bool = False) -> MigrationReport:
    """Return what migrating the file or folder `root` changes, and what it leaves to people."""
    return Plan(root, alias=alias).make()


def write(root: Path, changes: Iterable[FileChange]) -> None:
    """Write the new contents of files; one that cannot be written, to its end, keeps what it had."""
    base = root if root.is_dir() else root.parent
    for change in changes:
        path = base / change.path
        try:
            path.write_bytes(change.after)
        except BaseException as error:
            with suppress(OSError):
                path.write_bytes(change.before)  # also on a full disk, which had room for it
            if isinstance(error, OSError):
                error.filename = str(path)
            raise
