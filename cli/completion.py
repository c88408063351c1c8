"""``penstock completion``: the script that teaches a shell to complete penstock's commands, options and remotes."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from .commands import Command
from .invocation import Invocation, pass_invocation
from .main import COMPLETE_VARIABLE

__all__ = ["completion"]

_SHELLS = ("bash", "zsh", "fish")
# After a bucket and its slash the dataset follows, and no space. fish knows that by itself.
_NO_SPACE = "[[ ${#COMPREPLY[@]} -eq 1 && ${COMPREPLY[0]} == */ ]] && compopt -o nospace 2>/dev/null"


@click.command(
    cls=Command,
    examples=(
        "penstock completion bash > ~/.local/share/bash-completion/completions/penstock",
        "penstock completion zsh > ~/.zfunc/_penstock      # with ~/.zfunc in fpath",
        "penstock completion fish > ~/.config/fish/completions/penstock.fish",
        'eval "$(penstock completion bash)"                 # in this shell only',
    ),
)
@click.argument("shell", type=click.Choice(_SHELLS))
@pass_invocation
@click.pass_context
def completion(context: click.Context, invocation: Invocation, shell: str) -> None:
    """Print the completion script of SHELL: bash, zsh or fish."""
    made = get_completion_class(shell)
    assert made is not None
    script = made(context.find_root().command, {}, "penstock", COMPLETE_VARIABLE).source()
    if shell == "bash":
        script = script.replace("    return 0\n", f"    {_NO_SPACE}\n    return 0\n", 1)
    if invocation.output.json:
        invocation.output.document({"shell": shell, "script": script})
    else:
        # Not by `line`: a script has line ends and tabs.
        click.echo(script)
