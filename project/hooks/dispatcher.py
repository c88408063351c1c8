"""Git's hooks, of which a repository has one each: a script that runs what was there, then each part of ours.

A *part* is a piece of shell for some hooks: data that follows a checkout is one, datasets as code another. Parts are
plain files below ``penstock/parts/HOOK/`` of the repository's git directory, read by the script of that hook in the
order of their names. They look first, in shell: Python starts when there is something to do.

What was there keeps working, and is run first with the same arguments and input:

- a hook in ``hooks/`` is renamed ``HOOK.before-penstock``;
- where ``core.hooksPath`` leads elsewhere (husky, hooks that a team shares), nothing in that folder is touched. The
  repository's own ``core.hooksPath`` leads to ``penstock/hooks`` then, whose scripts run those of the folder before.

Clones carry no hooks: nothing here comes from anybody but the user. When the last part is taken out, all is as it was.
**Invariant:** a script is replaced whole; killed in between, the next install or removal finds what belongs where.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass

from penstock.errors import AccessError, UsageError
from penstock.project.git import ask_git, git_succeeds
from penstock.project.project import Project
from penstock.project.project_file import read_bounded
from penstock.project.state_folder import replace_file

__all__ = ["HookPart", "install_part", "installed_parts", "remove_part"]

_MARK = "# penstock-hooks 1"
_BEFORE = ".before-penstock"
_FORMER = "former"
_MOST = 1 << 20
_NAME = re.compile(r"[a-z][a-z0-9-]*")
_WITH_INPUT = frozenset({"pre-push", "post-rewrite", "reference-transaction"})

_SCRIPT = """\
#!/bin/sh
{mark}: runs what was here before, then the parts in penstock/parts/{hook}; `penstock init --no-hooks` takes it out
[ "$PENSTOCK_HOOK" = {hook} ] && exit 0
PENSTOCK_HOOK={hook}
export PENSTOCK_HOOK
penstock() {{
    if [ -x {python} ]; then {python} -P -m penstock "$@"
    elif command -v penstock >/dev/null 2>&1; then command penstock "$@"
    else echo 'penstock: not found, so its hook {hook} does nothing' >&2; fi
}}
{take}status=0
before={before}
if [ -x "$before" ]; then {feed}"$before" "$@" || exit $?; fi
for part in "${{0%/*}}"/../penstock/parts/{hook}/*; do
    if [ -f "$part" ]; then {feed}( . "$part" ) || status=$?; fi
done
exit $status
"""


@dataclass(frozen=True, slots=True)
class HookPart:
    """A part: its name, and for each hook the shell that runs there.

    The shell may call ``penstock``. It has the hook's arguments in ``$1`` and on, runs at the top of the work tree in a
    shell of its own, and is left with ``exit``; a hook before something (``pre-commit``) stops it by any code but 0.
    """

    name: str
    scripts: Mapping[str, str]

    def __post_init__(self) -> None:
        for name in (self.name, *self.scripts):
            if not _NAME.fullmatch(name):
                raise UsageError(f"{name!r} cannot name a hook, or a part of one")


def installed_parts(project: Project) -> dict[str, set[str]]:
    """Return the names of the parts that git runs, each with its hooks: those whose scripts are in place."""
    common = _common(project)
    found: dict[str, set[str]] = {}
    parts = os.path.join(common, "penstock", "parts")
    folder = _hooks_folder(project)
    for hook in _listed(parts):
        if _is_reached(folder, hook):
            for name in _listed(os.path.join(parts, hook)):
                found.setdefault(name, set()).add(hook)
    return found


def install_part(project: Project, part: HookPart) -> None:
    """Have git run a part, in place of an older state of it. AccessError: something cannot be written."""
    common = _common(project)
    parts = os.path.join(common, "penstock", "parts")
    try:
        for hook, script in part.scripts.items():
            folder = os.path.join(parts, hook)
            os.makedirs(folder, exist_ok=True)
            replace_file(os.path.join(folder, part.name), script.encode())
        for hook in _listed(parts):
            if hook not in part.scripts:
                _unlink(os.path.join(parts, hook, part.name))
        foreign = _foreign_folder(project)
        if foreign is not None:
            _lead_here(project, foreign)
        _place_scripts(project)
    except OSError as error:
        raise _unwritable(common, error) from error


def remove_part(project: Project, name: str) -> None:
    """Have git not run a part any more. After the last of them, hooks are as they were before the first."""
    common = _common(project)
    ours = os.path.join(common, "penstock")
    parts = os.path.join(ours, "parts")
    try:
        for hook in _listed(parts):
            _unlink(os.path.join(parts, hook, name))
            with suppress(OSError):
                os.rmdir(os.path.join(parts, hook))
        if not _listed(parts):
            _restore(project)
            for folder in (parts, os.path.join(ours, "hooks")):
                shutil.rmtree(folder, ignore_errors=True)
            with suppress(OSError):
                os.rmdir(ours)
        else:
            _place_scripts(project)
    except OSError as error:
        raise _unwritable(common, error) from error


def _common(project: Project) -> str:
    if project.common is None:
        raise UsageError(f"{project.root} has no hooks", why="it is not a git repository", fix="git init makes it one.")
    return project.common


def _own_folder(project: Project) -> str:
    return os.path.join(_common(project), "penstock", "hooks")


def _configured(project: Project) -> str | None:
    """Return what ``core.hooksPath`` says, as an absolute path; None: nothing."""
    if not git_succeeds(project.root, "config", "--get", "core.hooksPath"):
        return None
    path = os.fsdecode(ask_git(project.root, "config", "--type=path", "--get", "core.hooksPath")).removesuffix("\n")
    return os.path.join(project.root, path)


def _hooks_folder(project: Project) -> str:
    return _configured(project) or os.path.join(_common(project), "hooks")


def _foreign_folder(project: Project) -> str | None:
    """Return the folder of somebody else that ``core.hooksPath`` leads to; None: it leads nowhere, or to ours."""
    folder = _configured(project)
    ours = {_own_folder(project), os.path.join(_common(project), "hooks")}
    return folder if folder is not None and os.path.realpath(folder) not in map(os.path.realpath, ours) else None


def _lead_here(project: Project, foreign: str) -> None:
    folder = _own_folder(project)
    os.makedirs(folder, exist_ok=True)
    local = b""
    if git_succeeds(project.root, "config", "--local", "--get", "core.hooksPath"):
        local = ask_git(project.root, "config", "--local", "--get", "core.hooksPath").removesuffix(b"\n")
    # The folder as a script finds it, and what the repository's own configuration said of it, word for word.
    replace_file(os.path.join(folder, _FORMER), os.fsencode(foreign) + b"\n" + local + b"\n")
    ask_git(project.root, "config", "--local", "core.hooksPath", folder)


def _former(project: Project) -> tuple[str, bytes] | None:
    body = read_bounded(os.path.join(_own_folder(project), _FORMER), _MOST)
    if body is None:
        return None
    lines = body.split(b"\n")
    return os.fsdecode(lines[0]), lines[1] if len(lines) > 1 else b""


def _place_scripts(project: Project) -> None:
    """Have a script in place for each hook that has parts, or had one in the folder that git looked into before."""
    common = _common(project)
    wanted = set(_listed(os.path.join(common, "penstock", "parts")))
    former = _former(project)
    if former is not None:
        folder, before = _own_folder(project), former[0]
        wanted |= {
            name for name in _listed(before) if _NAME.fullmatch(name) and os.access(os.path.join(before, name), os.X_OK)
        }
        for name in set(_listed(folder)) - wanted - {_FORMER}:
            _unlink(os.path.join(folder, name))
        for hook in wanted:
            _write_script(os.path.join(folder, hook), hook, shlex.quote(os.path.join(before, hook)))
        return
    folder = os.path.join(common, "hooks")
    os.makedirs(folder, exist_ok=True)
    for name in _listed(folder):
        if name not in wanted and _is_ours(os.path.join(folder, name)):
            _give_back(folder, name)
    for hook in wanted:
        path = os.path.join(folder, hook)
        if os.path.lexists(path) and not _is_ours(path):
            os.replace(path, path + _BEFORE)
        _write_script(path, hook, f'"$0{_BEFORE}"')


def _write_script(path: str, hook: str, before: str) -> None:
    takes = hook in _WITH_INPUT
    text = _SCRIPT.format(
        mark=_MARK,
        hook=hook,
        python=shlex.quote(sys.executable),
        before=before,
        take="input=$(cat; echo .)\ninput=${input%.}\n" if takes else "",
        feed='printf %s "$input" | ' if takes else "",
    )
    # The folder of ours lies beside the parts, as `hooks` does one level higher.
    if os.path.basename(os.path.dirname(os.path.dirname(path))) == "penstock":
        text = text.replace('"${0%/*}"/../penstock/parts', '"${0%/*}"/../parts')
    if read_bounded(path, _MOST) != text.encode():
        replace_file(path, text.encode(), 0o777)


def _restore(project: Project) -> None:
    former = _former(project)
    if former is not None:
        configured = _configured(project)
        if configured is not None and os.path.realpath(configured) == os.path.realpath(_own_folder(project)):
            if former[1]:
                ask_git(project.root, "config", "--local", "core.hooksPath", os.fsdecode(former[1]))
            else:
                ask_git(project.root, "config", "--local", "--unset", "core.hooksPath")
    folder = os.path.join(_common(project), "hooks")
    for name in _listed(folder):
        if _is_ours(os.path.join(folder, name)):
            _give_back(folder, name)


def _give_back(folder: str, hook: str) -> None:
    path = os.path.join(folder, hook)
    if os.path.lexists(path + _BEFORE):
        os.replace(path + _BEFORE, path)
    else:
        _unlink(path)


def _is_ours(path: str) -> bool:
    if not os.path.isfile(path) or os.path.islink(path) or path.endswith(_BEFORE):
        return False
    with open(path, "rb") as stream:
        return _MARK.encode() in stream.read(200)


def _is_reached(folder: str, hook: str) -> bool:
    """Whether a hook's script is ours, or was moved by another tool that runs it (pre-commit: ``HOOK.legacy``)."""
    path = os.path.join(folder, hook)
    return _is_ours(path) or (os.path.isfile(path) and _is_ours(f"{path}.legacy"))


def _listed(folder: str) -> list[str]:
    try:
        return sorted(os.listdir(folder))
    except (FileNotFoundError, NotADirectoryError):
        return []


def _unlink(path: str) -> None:
    with suppress(FileNotFoundError):
        os.unlink(path)


def _unwritable(common: str, error: OSError) -> AccessError:
    return AccessError(
        f"the hooks in {common} cannot be changed",
        why=error.strerror or str(error),
        fix="Give yourself access to it; nothing else was changed.",
    )
