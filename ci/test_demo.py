"""`make test-demo`: the page of ci/demo.py in Debian's chromium, each tab by its marks (see demo.py)."""

import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

REPOSITORY = Path(__file__).resolve().parent.parent
MODELS = sorted(path.parent.name for path in REPOSITORY.glob("*/app.py"))
SHIPPED = [model for model in MODELS if list((REPOSITORY / model / "pretrained").glob("*.safetensors"))]
BROWSER = shutil.which("chromium") or shutil.which("chromium-browser")
SCREENSHOTS = REPOSITORY / "build" / "demo"
PATIENCE = 120  # seconds


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    """Of the page, served by a process of its own."""
    assert BROWSER, "chromium is not installed, and the page is tested in it: apt install chromium"
    log = tmp_path_factory.mktemp("demo") / "log"
    with open(log, "wb") as file:
        command = [sys.executable, str(REPOSITORY / "ci" / "demo.py")]
        process = subprocess.Popen(command, stdout=file, stderr=file, cwd=str(log.parent))
    deadline = time.monotonic() + PATIENCE
    while not (found := re.search(r"http://127\.0\.0\.1:\d+", log.read_text(errors="replace"))):
        assert process.poll() is None and time.monotonic() < deadline, log.read_text(errors="replace")[-3000:]
        time.sleep(0.2)
    yield found[0]
    process.terminate()
    process.wait()


@pytest.fixture(scope="module")
def page(address):
    """The page in the browser; `page.said` is its console, `page.asked` the requests that it makes."""
    from playwright.sync_api import sync_playwright

    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright:
        flags = ["--no-sandbox"] if os.geteuid() == 0 else []
        browser = playwright.chromium.launch(executable_path=BROWSER, args=flags)
        page = browser.new_page(viewport={"width": 1280, "height": 1000})
        page.said, page.asked = [], []
        page.on("console", lambda message: page.said.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: page.said.append(str(error)))
        page.on("request", lambda request: page.asked.append(request.url))
        page.goto(address)
        yield page
        browser.close()


def tab(page, model):
    page.goto(page.url)  # as one who has just come
    page.get_by_role("tab", name=model, exact=True).click()
    return page.locator('div[role="tabpanel"]').filter(visible=True).first


def shown(panel):
    """What the result shows, without the mark of work under way: its text, its fields and its images' addresses."""
    return panel.locator(".result").first.evaluate(
        """result => {
            const text = result.cloneNode(true)
            text.querySelectorAll('[data-testid="status-tracker"]').forEach(mark => mark.remove())
            const fields = [...result.querySelectorAll("textarea, input")].map(field => field.value)
            return [text.textContent, ...fields, ...[...result.querySelectorAll("img")].map(image => image.src)]
        }"""
    )


def idle(panel):
    return not panel.locator('[data-testid="status-tracker"]:not(.hide)').count()


def give_another_input(panel, folder):
    """Another sentence or word where the tab takes one, another choice, or another image."""
    fields, files = panel.locator(".input textarea"), panel.locator('.input input[type="file"]')
    choices = panel.locator('.input input[type="radio"]')
    if fields.count():
        fields.first.fill("bird")
    elif choices.count():
        choices.last.check()
        time.sleep(2)
    elif files.count():
        squares = np.random.default_rng(1).integers(0, 256, (8, 8, 3), np.uint8).repeat(16, 0).repeat(16, 1)
        Image.fromarray(squares).save(folder / "squares.png")
        files.first.set_input_files(str(folder / "squares.png"))
        time.sleep(2)


def until(happened, *, what):
    deadline = time.monotonic() + PATIENCE
    while not happened():
        assert time.monotonic() < deadline, what
        time.sleep(0.1)


@pytest.mark.parametrize("model", [model for model in MODELS if model not in SHIPPED])
def test_a_tab_without_weights_says_so(page, model):
    panel = tab(page, model)
    until(lambda: "cannot be shown" in panel.inner_text(), what=f"{model} says nothing")
    page.screenshot(path=str(SCREENSHOTS / f"{model}.png"))


@pytest.mark.parametrize("model", SHIPPED)
def test_a_tab_shows_its_example_and_then_a_new_result(page, model, tmp_path):
    panel = tab(page, model)
    until(lambda: idle(panel) and re.search(r"\d|http", str(shown(panel))), what=f"{model}'s example does not show")
    page.screenshot(path=str(SCREENSHOTS / f"{model}.png"))
    before = shown(panel)
    give_another_input(panel, tmp_path)
    if shown(panel) == before:  # it may be shown at once
        panel.locator("button.run, .run button").first.click()
    until(lambda: idle(panel) and shown(panel) != before, what=f"{model}: a click gives no new result")
    page.screenshot(path=str(SCREENSHOTS / f"{model}-clicked.png"))


@pytest.mark.parametrize("model", SHIPPED)
def test_a_bad_file_gives_a_message(page, model, tmp_path):
    panel = tab(page, model)
    inputs = panel.locator('.input input[type="file"]')
    if not inputs.count():
        pytest.skip(f"{model} takes no file")
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n no image")
    inputs.first.set_input_files(str(tmp_path / "broken.png"))
    run = panel.locator("button.run, .run button").first
    message = page.locator(".toast-body, .message:visible")
    time.sleep(1)
    if not message.count():
        run.click()
    until(lambda: any(text.strip() for text in message.all_inner_texts()), what=f"{model}: no message")
    assert "Traceback" not in " ".join(message.all_inner_texts())


def test_nothing_leaves_this_machine_and_no_error_is_told(page, address):
    """Last: of all that the tabs above did."""
    others = [
        url for url in page.asked if not url.startswith((address, address.replace("http", "ws"), "data:", "blob:"))
    ]
    assert page.asked and others == []
    # What a reload in the middle of a request leaves behind is no error of the page's.
    assert [text for text in page.said if "AbortError" not in text and "errored out" not in text] == []
