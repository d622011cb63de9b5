"""``afa-bench verify``: does a submission hold together?"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from afa_bench.cli.options import path
from afa_bench.errors import UserError


def verify(submission: Annotated[Path, typer.Argument(help="A folder that `afa-bench export` made.", parser=path)]) -> None:
    """Check every file of a submission against its hash, every row against itself, and make every table again.

    Values of whole sets of images (FID, IS, KID) do not follow from the rows; they are named as not recomputed.

    Exit: 0 all is well; 1 something is not, and is named; 2 usage; 3 an empty submission; 5 internal.
    """
    from afa_bench.cli.exits import FAILED, INTERNAL
    from afa_bench.publish.verify import verify as check
    from afa_bench.terminal import output
    from afa_bench.words import line

    try:
        found = check(submission)
    except UserError:
        raise
    except Exception as error:  # whatever it is, nobody must take it for a verdict
        import traceback

        traceback.print_exc()
        raise typer.Exit(INTERNAL) from error
    for problem in found.problems:
        output().print(line(problem))
    images = f", {found.images} images" if found.images else ""
    output().print(
        f"{found.files} files, {found.rows} rows, {found.values} means{images}: {len(found.problems) or 'no'} problems"
    )
    if found.unchecked:
        output().print(f"not recomputed: {', '.join(found.unchecked)}: needs the images, not the rows")
    output().print(f"sha256 {found.digest}")
    if found.problems:
        raise typer.Exit(FAILED)
