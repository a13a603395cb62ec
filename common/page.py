"""An app.py's page in the browser of this machine alone, by Gradio (the current stack only)."""

import os
from collections.abc import Sequence
from typing import Any, Callable, Optional

from common import cli
from common.cli import UserError, notice


def gradio() -> Any:
    """The library, told to count and fetch nothing before it is imported.

    Raises:
        UserError: it is not installed.
    """
    os.environ.update(GRADIO_ANALYTICS_ENABLED="False", HF_HUB_OFFLINE="1", HF_HUB_DISABLE_TELEMETRY="1")
    try:
        import gradio
    except ImportError:
        raise UserError("the page needs Gradio: make demo, or pip install gradio==6.31.0 pillow==12.3.0") from None
    return gradio


def serve(page: Any, port: Optional[int] = None) -> None:
    """Shows a page on 127.0.0.1 until Ctrl-C, in the browser's own fonts; without `port` on a free one.

    Raises:
        UserError: the port is taken.
    """
    theme = gradio().themes.Default(font=["system-ui", "sans-serif"], font_mono=["monospace"])  # of no other host
    looks = {"theme": theme, "footer_links": [], "ssr_mode": False, "quiet": True}
    try:
        page.launch(server_name="127.0.0.1", server_port=port, prevent_thread_lock=True, **looks)
    except OSError:
        raise UserError(f"--port {port} is taken; give another one") from None
    notice(f"{page.local_url} (Ctrl-C ends it)")
    page.block_thread()


def run(build: Callable[[Optional[str]], Any], description: str, argv: Optional[Sequence[str]] = None) -> int:
    """The whole of a model's app.py: its flags, its page, its exit status.

    Args:
        build: adds the model's part to the open page, with the weights of a path or, without one, of pretrained/.
    """
    parser = cli.ArgumentParser(description=description)
    parser.add_argument("--ckpt_path", metavar="PATH", help="weights or a run's folder (without: pretrained/)")
    parser.add_argument("--port", type=cli.in_range(int, 1, 65535), help="without it a free one from 7860 on")
    args = parser.parse_args(argv)

    def show():
        with gradio().Blocks(title=description.partition(" in the browser")[0], analytics_enabled=False) as page:
            build(args.ckpt_path)
        serve(page, args.port)

    return cli.run_main(show)
