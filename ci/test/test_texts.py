"""The repository as a reader sees it: its pages, its modules and what imports them, the weights that it ships."""

import ast
import hashlib
import re
from pathlib import Path

import pytest
from conftest import MODELS, REPOSITORY

ROOTS = [REPOSITORY, *(REPOSITORY / model for model in MODELS)]
PRODUCT = sorted(
    path for folder in (*MODELS, "common") for path in (REPOSITORY / folder).rglob("*.py") if "test" not in path.parts
)
TEXTS = ("*.md", "*.py", "*.sh", "*.txt", "*.toml", "*.flags", "*.json", "*.yml", "Makefile")
ENTRIES = ("__init__.py", "app.py")  # a package's own, and what ci/demo.py loads
WEIGHTS = sorted(REPOSITORY.glob("*/pretrained/*.safetensors"))


def name(path):
    return str(path.relative_to(REPOSITORY))


def commands(page):
    """The lines of its code blocks, without comments."""
    blocks = re.findall(r"^```\w*\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL)
    lines = [re.sub(r"\s+#.*|^#.*", "", line).rstrip() for block in blocks for line in block.splitlines()]
    return [line for line in lines if line]


@pytest.mark.parametrize("folder", ROOTS, ids=lambda path: path.name)
def test_both_languages_show_the_same_commands(folder):
    english, chinese = commands(folder / "README.md"), commands(folder / "README.zh-CN.md")
    assert english and english == chinese


@pytest.mark.parametrize("folder", ROOTS, ids=lambda path: path.name)
def test_a_page_is_read_in_a_few_minutes(folder):
    for page in ("README.md", "README.zh-CN.md"):
        assert len((folder / page).read_text().splitlines()) <= 120


@pytest.mark.parametrize("folder", ROOTS, ids=lambda path: path.name)
def test_what_a_page_links_to_is_there(folder):
    for page in sorted(folder.glob("*.md")):
        for link in re.findall(r"\]\(([^)#]+)[^)]*\)|src=\"([^\"]+)\"", page.read_text()):
            target = "".join(link)
            assert target.startswith("http") or (folder / target).exists(), f"{name(page)}: {target}"


def test_no_text_names_a_place_of_one_machine():
    found = []
    for pattern in TEXTS:
        for path in REPOSITORY.rglob(pattern):
            inside = path.relative_to(REPOSITORY).parts
            if not any(part in ("build", "__pycache__") or part.startswith(".venv") for part in inside):
                lines = enumerate(path.read_text(errors="replace").splitlines(), 1)
                found += [f"{name(path)}:{n}" for n, line in lines if re.search(r"(?<![\w.])/(work|root)/", line)]
    assert [place for place in found if not place.startswith("ci/test/test_texts.py")] == []


def imports(path):
    """What a module imports, as paths in the repository."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        for dotted in names:
            file = Path(*dotted.split(".")).with_suffix(".py")
            top = path.relative_to(REPOSITORY).parts[0]
            for place in (REPOSITORY / top / file, path.parent / file, REPOSITORY / file):
                if place.exists():
                    found.add(place)
                    break
    return found


def test_every_module_is_a_script_or_imported_by_one():
    """But for a few lines that keep an original's name for what is elsewhere now."""
    used = set().union(*(imports(path) for path in PRODUCT))
    lonely = {path: path.read_text() for path in PRODUCT if path not in used and path.name not in ENTRIES}
    lonely = {path: text for path, text in lonely.items() if len(text.splitlines()) > 12}
    assert [name(path) for path, text in lonely.items() if '__name__ == "__main__"' not in text] == []


def test_every_folder_finds_common_in_the_same_way():
    """common comes before TensorFlow, whose start-up lines it keeps back."""
    paths = {(REPOSITORY / model / "_path.py").read_text() for model in MODELS}
    assert len(paths) == 1 and "\nimport common " in paths.pop()


def test_two_floors_and_no_circle():
    """A model imports itself and `common`; `common` only itself, nothing of tests, and no module what imports it."""
    arrows = {path: imports(path) for path in PRODUCT}
    for path, targets in arrows.items():
        folder = path.relative_to(REPOSITORY).parts[0]
        for target in targets:
            assert target.relative_to(REPOSITORY).parts[0] in (folder, "common"), f"{name(path)} -> {name(target)}"
            assert "test" not in target.relative_to(REPOSITORY).parts, f"{name(path)} -> {name(target)}"
    left = {path: set(targets) for path, targets in arrows.items()}
    while True:
        free = [path for path, targets in left.items() if not targets & set(left)]
        if not free:
            break
        for path in free:
            del left[path]
    assert sorted(map(name, left)) == []


@pytest.mark.parametrize("file", WEIGHTS, ids=lambda path: path.name)
def test_shipped_weights_are_those_of_their_card_and_load(file):
    from common import weights

    model = file.parent.parent
    assert hashlib.sha256(file.read_bytes()).hexdigest() in (file.parent / "MODEL_CARD.md").read_text()
    name = f"{model.name} text encoder" if file.stem == "text_encoder" else model.name
    assert weights.load(file, name, model).tensors
    assert file.stat().st_size <= 30e6 and sum(path.stat().st_size for path in WEIGHTS) <= 75e6
