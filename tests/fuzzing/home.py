"""A user of its own for a target: a home, settings, a runtime folder, and the command line in this process."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path

from click.testing import CliRunner

from penstock.cli.exits import ExitCode
from penstock.cli.main import root
from penstock.errors import PenstockError
from penstock.repo.settings.settings import Settings

__all__ = ["at_home"]


@contextlib.contextmanager
def at_home(folder: Path, settings: Settings) -> Iterator[Callable[..., None]]:
    """Run commands in this process as a user whose home is `folder`: whatever goes wrong is a PenstockError."""
    folder.mkdir(exist_ok=True)
    (folder / "config.toml").write_text(
        f'[cache]\ndirectory = "{settings.cache_directory}"\nsize = {settings.cache_size}\n'
        + "".join(f'[remotes.{remote.name}]\nurl = "{remote.url}"\n' for remote in settings.remotes.values())
    )
    (folder / "run").mkdir(mode=0o700)
    names = ("HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_STATE_HOME", "XDG_DATA_HOME")
    changed = {
        **dict.fromkeys(names, str(folder)),
        "XDG_RUNTIME_DIR": str(folder / "run"),
        "PENSTOCK_CONFIG": str(folder / "config.toml"),
        "PENSTOCK_CACHE_DIR": str(settings.cache_directory),
    }
    before = {name: os.environ.get(name) for name in changed}

    def command(*arguments: str) -> None:
        done = CliRunner().invoke(root, arguments)
        if done.exit_code in (ExitCode.OK, ExitCode.DIFFERS):
            return
        if done.exit_code == ExitCode.INTERNAL:
            raise AssertionError(f"penstock {' '.join(arguments)}: {done.output[-1000:]}")
        raise PenstockError(done.output)

    os.environ.update(changed)
    try:
        yield command
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
