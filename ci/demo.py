"""One page on this machine with a tab for each model: `make demo`, `make demo CKPT_SRGAN=RUN`, `ci/demo.py SRGAN`.

A folder's app.py has `build(ckpt=None)`, which adds its part to the gradio.Tab that is open; CKPT_<MODEL> in the
environment is its `ckpt`, a weights file or a run's folder. Nothing is uploaded, counted or loaded from another host.

For the test in a browser, app.py marks with `elem_classes` the file to give ("input", where it takes one), the button
("run"), what it shows ("result") and where it tells of a mistake, unless that is a gradio.Error ("message").
"""

import importlib
import os
import sys
from pathlib import Path
from typing import Any, Optional

REPOSITORY = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(REPOSITORY))

from common import cli, page  # noqa: E402
from common.cli import UserError  # noqa: E402


def add_app(folder: Path, ckpt: Optional[str]) -> None:
    """Adds a folder's app to the page: what it imports, it imports now.

    Its flat modules (model, predict, ...) leave `sys.modules` again, so that the next folder's are not taken for them.
    """
    before = set(sys.modules)
    sys.path.insert(0, str(folder))
    try:
        importlib.import_module("app").build(ckpt)
    finally:
        sys.path.remove(str(folder))
        for name in set(sys.modules) - before:
            if str(getattr(sys.modules[name], "__file__", None)).startswith(f"{folder}{os.sep}"):
                del sys.modules[name]


def build(models: list[str]) -> Any:
    """The page, each model's weights loaded and its example run.

    Raises:
        UserError: gradio is not installed, or there is no such model.
    """
    known = sorted(path.parent.name for path in REPOSITORY.glob("*/app.py"))
    strange = sorted(set(models) - set(known))
    if strange:
        raise UserError(f"there is no model {', '.join(strange)} with an app.py; there are {', '.join(known)}")
    gradio = page.gradio()
    with gradio.Blocks(title="Five image GANs", analytics_enabled=False) as whole, gradio.Tabs():
        for model in models or known:
            cli.notice(f"loading {model}")
            with gradio.Tab(model):
                add_app(REPOSITORY / model, os.environ.get(f"CKPT_{model.upper()}"))
    return whole


def main(argv: Optional[list[str]] = None) -> int:
    parser = cli.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", nargs="*", metavar="MODEL", help="tabs to show; all without any")
    parser.add_argument("--port", type=cli.in_range(int, 1, 65535), help="without it a free one from 7860 on")
    args = parser.parse_args(argv)
    return cli.run_main(lambda: page.serve(build(args.models), args.port))


if __name__ == "__main__":
    cli.leave(main())
