"""``penstock completion``: the script that teaches a shell to complete command lines of penstock."""

from __future__ import annotations

import click

from .command_classes import Command
from .entry import COMPLETE_VARIABLE
from .invocation import Invocation, pass_invocation

__all__ = ["completion"]

# After a value that ends in a slash or a colon the word goes on.
_BASH = """\
_penstock_completion() {
    local kind value help word=$2 IFS=$'\\n'
    COMPREPLY=()
    while IFS=$'\\t' read -r kind value help; do
        case $kind in
            plain)
                [[ $word == [\\'\\"]* ]] || printf -v value %q "$value"
                COMPREPLY+=("$value") ;;
            file) compopt -o default 2>/dev/null ;;
            dir) compopt -o dirnames 2>/dev/null ;;
        esac
    done < <(VARIABLE=bash COMP_LINE="${COMP_LINE:0:COMP_POINT}" COMP_WORDBREAKS="$COMP_WORDBREAKS" "$1" 2>/dev/null)
    [[ ${#COMPREPLY[@]} -eq 1 && ${COMPREPLY[0]} == *[/:] ]] && compopt -o nospace 2>/dev/null
    return 0
}
complete -F _penstock_completion penstock
"""
_ZSH = """\
#compdef penstock
_penstock() {
    local kind value help line
    local -a plain going
    while IFS=$'\\t' read -r kind value help; do
        case $kind in
            plain)
                if [[ $value == *[/:] ]]; then going+=("$value")
                else plain+=("${value//:/\\\\:}${help:+:$help}"); fi ;;
            file) _files ;;
            dir) _files -/ ;;
        esac
    done < <(VARIABLE=zsh COMP_LINE="${(j: :)words[1,CURRENT]}" "$words[1]" 2>/dev/null)
    (( $#going )) && compadd -S '' -a going
    (( $#plain )) && _describe -V penstock plain
}
if [[ $funcstack[1] == _penstock ]]; then _penstock "$@"; else compdef _penstock penstock; fi
"""
_FISH = """\
function __penstock_complete
    VARIABLE=fish COMP_LINE=(commandline -cp) penstock 2>/dev/null | while read -l -d \\t kind value help
        switch $kind
            case plain
                printf '%s\\t%s\\n' $value $help
            case file
                __fish_complete_path (commandline -ct)
            case dir
                __fish_complete_directories (commandline -ct)
        end
    end
end
complete -c penstock -e
complete -c penstock -f -k -a '(__penstock_complete)'
"""
_SCRIPTS = {"bash": _BASH, "zsh": _ZSH, "fish": _FISH}


@click.command(
    cls=Command,
    examples=(
        "penstock completion bash > ~/.local/share/bash-completion/completions/penstock",
        "penstock completion zsh > ~/.zfunc/_penstock      # with ~/.zfunc in fpath",
        "penstock completion fish > ~/.config/fish/completions/penstock.fish",
        'eval "$(penstock completion bash)"                 # in this shell only',
    ),
)
@click.argument("shell", type=click.Choice(tuple(_SCRIPTS)))
@pass_invocation
def completion(invocation: Invocation, shell: str) -> None:
    """Print the completion script for SHELL: bash, zsh or fish.

    It completes commands, options, buckets, datasets, refs, paths in a version, and mounts. Answers of stores are
    remembered and refreshed in the background, so that a slow store never makes the shell wait.
    """
    script = _SCRIPTS[shell].replace("VARIABLE", COMPLETE_VARIABLE)
    if invocation.output.json:
        invocation.output.document({"shell": shell, "script": script})
    else:
        # Not by `line`: a script has line ends and tabs.
        click.echo(script)
