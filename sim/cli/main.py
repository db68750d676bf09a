"""`tileloom`: entry point, exit codes, options that every command shares.

Exit: 0 done, 1 the user's mistake, 2 usage, 3 our bug, 4 a check found a difference, 130
interrupted.
"""

from __future__ import annotations

import functools
import sys
import traceback
from collections.abc import Callable
from typing import Annotated, Any

import typer

from kernels_ref.errors import UserError
from sim.cli.calibrate import calibrate
from sim.cli.import_ import import_
from sim.cli.map import map_to
from sim.cli.schema import schema
from sim.cli.show import show
from sim.cli.simulate import simulate
from sim.cli.validate import validate
from sim.cli.verify import verify

USER_MISTAKE, OUR_BUG, INTERRUPTED = 1, 3, 130

app = typer.Typer(
    help="Simulate transformer inference on accelerators written in YAML.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


@app.callback()
def shared(
    plugin: Annotated[
        list[str] | None,
        typer.Option(
            "--plugin", help="Module that registers your own parts; works with every command."
        ),
    ] = None,
) -> None:
    """Options before the command; `--plugin` may also stand after it (see `main`)."""
    for module in plugin or []:
        _guarded(_load_plugin)(module)


def _load_plugin(module: str) -> None:
    from sim.plugins import load

    load(module)


def _guarded(command: Callable[..., Any]) -> Callable[..., Any]:
    """The command, with what goes wrong turned into a message and an exit code."""

    @functools.wraps(command)
    def guarded(*args: Any, **kwargs: Any) -> Any:
        try:
            return command(*args, **kwargs)
        except UserError as mistake:
            print(mistake, file=sys.stderr)
            raise typer.Exit(USER_MISTAKE) from None
        except KeyboardInterrupt:
            print("interrupted", file=sys.stderr)
            raise typer.Exit(INTERRUPTED) from None
        except (typer.Exit, typer.Abort, typer.BadParameter):
            raise
        except BrokenPipeError:
            raise
        except Exception:  # the one place: everything unexpected is our bug, shown whole
            traceback.print_exc()
            print("this is a bug in tileloom; please report the lines above", file=sys.stderr)
            raise typer.Exit(OUR_BUG) from None

    return guarded


COMMANDS: dict[str, Callable[..., Any]] = {
    "simulate": simulate, "map": map_to, "verify": verify, "show": show, "schema": schema,
    "import": import_, "validate": validate, "calibrate": calibrate,
}  # fmt: skip
for _name, _command in COMMANDS.items():
    app.command(_name)(_guarded(_command))


def main() -> None:
    """Move `--plugin MODULE` in front of the command, wherever it stands, and run."""
    front, rest = _plugins_first(sys.argv[1:])
    app(args=[*front, *rest], prog_name="tileloom")


def _plugins_first(arguments: list[str]) -> tuple[list[str], list[str]]:
    front: list[str] = []
    rest: list[str] = []
    words = iter(arguments)
    for word in words:
        if word == "--plugin":
            module = next(words, None)
            if module is None:
                return [word], []  # a usage error of its own
            front += [word, module]
        elif word.startswith("--plugin="):
            front.append(word)
        else:
            rest.append(word)
    return front, rest


if __name__ == "__main__":
    main()
