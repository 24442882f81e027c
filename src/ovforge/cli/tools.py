"""`ovforge tools`: the scripts with the originals' command lines, beside the user's data."""

from __future__ import annotations

from pathlib import Path

import typer

from ovforge.cli.common import Console, command
from ovforge.errors import InputError, OutputExistsError
from ovforge.options.tools import ToolsOptions
from ovforge.records.reporting import StepSummary

PACKAGED = Path(__file__).resolve().parents[1] / "_tools"
CHECKOUT = Path(__file__).resolve().parents[3] / "tools"
NOT_FOR_USERS = ("build_taxonomy.py", "build_docs.py", "demo.py")


def register(app: typer.Typer) -> None:
    """Add the command to the top level of `app`."""

    @command(app, "tools", example="ovforge tools /data/lvis-project")
    def tools(console: Console, options: ToolsOptions) -> StepSummary:
        """Write the scripts with the originals' command lines to DIR/tools, so that they work from DIR as printed."""
        del console
        return write_tools(options)


def write_tools(options: ToolsOptions) -> StepSummary:
    """Copy the scripts to `options.folder`/tools.

    Raises:
        InputError: this installation has no scripts, or the folder cannot be written.
        OutputExistsError: a script is there already, of other content, and `overwrite` is false.
    """
    source = PACKAGED if PACKAGED.is_dir() else CHECKOUT
    if not (source / "_checkout.py").is_file():
        raise InputError("this copy of ovforge came without its scripts", hint="install it from a wheel or a checkout")
    target = options.folder / "tools"
    names = sorted(
        path.relative_to(source)
        for path in source.rglob("*")
        if path.suffix in (".py", ".sh", ".ipynb") and path.name not in NOT_FOR_USERS
    )
    contents = {target / name: (source / name).read_bytes() for name in names}
    for path, content in contents.items():
        if path.exists() and path.read_bytes() != content and not options.overwrite:
            raise OutputExistsError(path, hint=("--overwrite replaces it", "name another folder"))
    try:
        for path, content in contents.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
            if path.suffix == ".sh":
                path.chmod(0o755)
    except OSError as error:
        raise InputError(
            f"{target}: cannot be written ({error.strerror or error})", hint="name another folder"
        ) from error
    return StepSummary(step="tools", outputs={"scripts": str(target)}, counts={"scripts": len(contents)})
