"""A folder of pictures, captions and embeddings -> batches of (picture, wrong picture, embedding).

<data_path>/train and <data_path>/test, each in one of two forms:
    the original's   filenames.pickle, class_info.pickle, char-CNN-RNN-embeddings.pickle, {76,304}images.pickle or .npy;
                     captions in <data_path>/text_c10/<class>/<name>.txt (misc/preprocess_birds.py makes the pictures)
    our own          images/<class>/<name>.png, captions/<class>/<name>.txt, a caption a line, embeddings.npz, and
                     nothing else (prepare.py makes it of your pictures, sample_data.py draws one)

Pictures are read once into {76,304}images.npy in the same folder, and from then on are mapped into memory, not held.
"""

import argparse
import atexit
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, Callable, Optional

import _path  # noqa: F401  (finds ../common)
import numpy as np
from misc import pickles
from misc.embeddings import (  # noqa: F401  (these are of the data's interface)
    BY_ENCODER,
    EMBEDDING_FILES,
    EMBEDDINGS,
    embeddings_made_by,
    find_embeddings,
    read_embeddings,
    read_npy,
    save_embeddings,
)
from PIL import Image, ImageOps
from tqdm import tqdm

from common import pictures
from common.cli import UserError

LOAD_SIZES = {64: 76, 256: 304}  # side that a network sees -> side of the pictures that it is cropped from
MAX_TEXT = 2**20  # bytes of a file of captions
THREADS = 4


class Split:
    """The pictures of <data_path>/train or test, their classes, captions and embeddings.

    Attributes:
        folder: where they are.
        filenames: "class/name" of each, without suffix.
        classes: int64 [n]; where all are in one class, each picture is one of its own.
        embeddings: float32 [n, captions a picture, numbers a caption], or None where they were not asked for.
    """

    def __init__(self, folder: Path, filenames: list[str], classes: np.ndarray, embeddings: Optional[np.ndarray]):
        self.folder, self.filenames, self.classes, self.embeddings = folder, filenames, classes, embeddings
        self._pictures, self._captions = {}, ()  # () until it is known

    def __len__(self) -> int:
        return len(self.filenames)

    @property
    def captions(self) -> Optional[list[list[str]]]:
        """Each picture's captions, or None where the set has none.

        Raises:
            UserError: some pictures have captions and some not.
        """
        if self._captions == ():
            self._captions = read_captions(self.folder, self.filenames)
        return self._captions

    def pictures(self, side: int) -> np.ndarray:
        """All pictures at 76 or 304 pixels a side, uint8 [n, side, side, 3], mapped into memory.

        Raises:
            UserError: they are missing or broken, or not as many as there are names.
        """
        if side not in self._pictures:
            self._pictures[side] = _mapped_pictures(self.folder, self.filenames, side)
        return self._pictures[side]


def load(folder: Any, embedding_type: Optional[str] = "cnn-rnn") -> Split:
    """A split of a data set.

    Args:
        folder: <data_path>/train or <data_path>/test.
        embedding_type: "cnn-rnn" or "skip-thought"; None: without embeddings, where none are there yet.
    Raises:
        UserError: something is missing or broken, or the counts differ.
    """
    folder = Path(folder).expanduser()
    if not folder.is_dir():
        raise UserError(
            f"--data_path {folder.parent}: there is no folder {folder.name} in it; misc/preprocess_birds.py, "
            "prepare.py (your pictures) and sample_data.py (drawn birds) make train/ and test/"
        )
    filenames = read_filenames(folder)
    classes = _read_classes(folder, filenames)
    embeddings = None
    if embedding_type is not None:
        path = find_embeddings(folder, embedding_type)
        if path is None:
            names = " or ".join(EMBEDDING_FILES[embedding_type])
            raise UserError(f"{folder}: there are no embeddings ({names}); train_text_encoder.py makes them")
        embeddings = read_embeddings(path, filenames)
    return Split(folder, filenames, classes, embeddings)


# Names, classes, captions


def clean_name(name: Any, where: Path) -> str:
    """Checks a picture's name, which becomes part of paths."""
    parts = Path(name).parts if isinstance(name, str) and "\0" not in name else ()
    if not parts or ".." in parts or Path(name).is_absolute():
        raise UserError(f"{where}: {str(name)[:60]!r} is no name of a picture such as 'class/name'")
    return name


def _own_files(folder: Path) -> list[Path]:
    """The pictures of our own format: in images/ and in the folders there, sorted by class and name."""
    root = folder / "images"
    inside = [root, *sorted(path for path in root.glob("*") if path.is_dir() and path.name[0] != ".")]
    return [file for place in inside for file in pictures.picture_files(place)]


def read_filenames(folder: Path) -> list[str]:
    """The names "class/name" of a split's pictures, without suffix, in the order of everything else.

    Raises:
        UserError: there are none, or they are not names.
    """
    if (folder / "images").is_dir():
        names = [path.relative_to(folder / "images").with_suffix("").as_posix() for path in _own_files(folder)]
        if len(set(names)) < len(names):
            twice = next(name for number, name in enumerate(names) if name in names[:number])
            raise UserError(f"{folder / 'images'}: two pictures share the name {twice}; rename one")
        where = folder / "images"
    elif (folder / "filenames.pickle").is_file():
        where = folder / "filenames.pickle"
        names = pickles.load(where)
        names = names.tolist() if isinstance(names, np.ndarray) else names
        if not isinstance(names, (list, tuple)):
            raise UserError(f"{where}: should hold a list of names")
    elif (folder / "filenames.txt").is_file():
        where = folder / "filenames.txt"
        names = read_lines(where, 2**26)
    else:
        raise UserError(
            f"{folder}: holds neither images/ nor filenames.pickle; misc/preprocess_birds.py, prepare.py and "
            "sample_data.py make a set"
        )
    if not names:
        raise UserError(f"{where}: there are no pictures in it")
    return [clean_name(name, where) for name in names]


def _read_classes(folder: Path, filenames: Sequence[str]) -> np.ndarray:
    """The pictures' classes as int64 [n]: of class_info.pickle, or else one a folder."""
    path = folder / "class_info.pickle"
    if path.is_file() and not (folder / "images").is_dir():
        try:
            classes = np.asarray(pickles.load(path))
        except ValueError:
            classes = np.zeros(0)
        if classes.ndim != 1 or classes.dtype.kind not in "iu":
            raise UserError(f"{path}: should hold a list of whole numbers, a class a picture")
        if len(classes) != len(filenames):
            raise UserError(f"{path}: {len(classes)} classes for {len(filenames)} pictures; it is of another set")
    else:
        _, classes = np.unique([name.rpartition("/")[0] for name in filenames], return_inverse=True)
    if classes.min() == classes.max():
        classes = np.arange(len(classes))
    return classes.astype(np.int64)


def read_lines(path: Path, most: int = MAX_TEXT) -> list[str]:
    """The lines of a text file that are not blank, with single spaces; UTF-8, or else Latin-1.

    Raises:
        UserError: it cannot be read, is too large, or is no text.
    """
    try:
        with open(path, "rb") as file:
            raw = file.read(most + 1)
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from None
    if len(raw) > most or b"\0" in raw:
        raise UserError(f"{path}: is no text file of captions or names")
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = raw.decode("latin-1")
    return [line for line in (" ".join(line.split()) for line in text.splitlines()) if line]


def read_captions(folder: Path, filenames: Sequence[str]) -> Optional[list[list[str]]]:
    """Each picture's captions: of captions/ in the split, or of text_c10/ beside it; None where there is neither.

    Raises:
        UserError: a picture's file is missing or holds no caption.
    """
    root = next((path for path in (folder / "captions", folder.parent / "text_c10") if path.is_dir()), None)
    if root is None:
        return None
    elsewhere, captions = None, []
    for name in filenames:
        path = root / f"{name}.txt"
        if not path.parent.is_dir():  # flowers: jpg/image_00001, but class_00077/image_00001.txt
            if elsewhere is None:
                elsewhere = {found.stem: found for found in root.glob("*/*.txt")}
            path = elsewhere.get(Path(name).name, path)
        if not path.is_file():
            raise UserError(f"{path}: the captions of the picture {name} are missing; write them there, one a line")
        captions.append(read_lines(path))
        if not captions[-1]:
            raise UserError(f"{path}: holds no caption; write at least one, one a line")
    return captions


# Embeddings


def write_embeddings(folder: Path, encode: Callable[[list[str]], np.ndarray], made_by: str = BY_ENCODER) -> Path:
    """Embeds the captions of a split and writes them into its embeddings.npz; returns the file.

    A picture with fewer captions than others has its own repeated, so that each has as many.

    Args:
        folder: <data_path>/train or test.
        encode: captions -> float [their number, numbers a caption].
        made_by: is kept in the file, see `embeddings_made_by`.
    Raises:
        UserError: the split has no captions.
    """
    filenames = read_filenames(folder)
    captions = read_captions(folder, filenames)
    if captions is None:
        raise UserError(f"{folder}: there are no captions in captions/ or ../text_c10/, so nothing can be embedded")
    most = max(map(len, captions))
    flat = [lines[number % len(lines)] for lines in captions for number in range(most)]
    distinct = sorted(set(flat))
    row = {caption: number for number, caption in enumerate(distinct)}
    encoded = np.asarray(encode(distinct), np.float32)[[row[caption] for caption in flat]]
    return save_embeddings(folder, filenames, encoded.reshape(len(captions), most, -1), made_by)


# Pictures


def square(picture: Image.Image, side: int) -> np.ndarray:
    """A picture's middle square at a side, bicubic: uint8 [side, side, 3]; what is transparent is seen on white."""
    picture = pictures.on_white(picture) if picture.mode == "RGBA" else picture.convert("RGB")
    return np.asarray(ImageOps.fit(picture, (side, side), Image.BICUBIC))


def _read_square(side: int, path: Path) -> np.ndarray:
    large = square(pictures.decode(path), LOAD_SIZES[256])
    return large if side == LOAD_SIZES[256] else smaller(large, side)


def smaller(picture: np.ndarray, side: int) -> np.ndarray:
    """A uint8 picture [h, w, 3] at another side, antialiased bicubic, uint8 as well."""
    return np.asarray(Image.fromarray(picture).resize((side, side), Image.BICUBIC))


def save_pictures(path: Path, count: int, side: int, made: Iterable[np.ndarray]) -> None:
    """Writes pictures, one by one, into an .npy that is there only when it is whole. Its time is when this began.

    Args:
        made: uint8 [side, side, 3], `count` of them.
    Raises:
        OSError: it cannot be written.
    """
    began = time.time_ns()
    handle, work = tempfile.mkstemp(prefix=".unfinished-", suffix=".npy", dir=path.parent)
    os.close(handle)
    try:
        with open(work, "wb") as file:
            header = {"descr": "|u1", "fortran_order": False, "shape": (count, side, side, 3)}
            np.lib.format.write_array_header_1_0(file, header)
            for picture in made:
                file.write(np.ascontiguousarray(picture, np.uint8).data)
        os.chmod(work, 0o644)
        os.utime(work, ns=(began, began))
        os.replace(work, path)
    except BaseException:
        os.unlink(work)
        raise


_elsewhere: dict[Path, Path] = {}  # the .npy of a folder that cannot be written to -> the one of this run


def _mapped_pictures(folder: Path, filenames: Sequence[str], side: int) -> np.ndarray:
    """The pictures of a split, out of <side>images.npy, which is made first where it is missing or older."""
    path, pickled = folder / f"{side}images.npy", folder / f"{side}images.pickle"
    own = (folder / "images").is_dir()
    if own:
        files = _own_files(folder)
        sources = [*files, *{file.parent for file in files}, folder / "images"]
        make = partial(_own_pictures, files, side)
    else:
        sources = [pickled] if pickled.is_file() else []
        make = partial(_pickled_pictures, pickled, len(filenames), side)
    path = _elsewhere.get(path, path)
    newest = max((source.stat().st_mtime_ns for source in sources), default=0)
    if sources and not (path.is_file() and path.stat().st_mtime_ns > newest):
        path = _write_cache(path, len(filenames), side, make)
    if not path.is_file():
        raise UserError(
            f"{folder}: there is neither {path.name} nor {pickled.name}; misc/preprocess_birds.py makes them"
        )
    found = read_npy(path)
    if found.dtype != np.uint8 or found.shape[1:] != (side, side, 3):
        raise UserError(f"{path}: holds {found.dtype} {list(found.shape)}, not uint8 [n, {side}, {side}, 3]; remove it")
    if len(found) != len(filenames):
        raise UserError(f"{path}: {len(found)} pictures for {len(filenames)} names; remove it, and preprocess again")
    return found


def _write_cache(path: Path, count: int, side: int, make: Callable[[], Iterable[np.ndarray]]) -> Path:
    """Writes an .npy of pictures into a split's folder, or, where that cannot be written to, into one of this run."""
    made = make()
    if path not in _elsewhere.values() and not os.access(path.parent, os.W_OK):
        work = tempfile.mkdtemp(prefix="stackgan-")
        atexit.register(shutil.rmtree, work, ignore_errors=True)
        print(f"[Info] {path.parent} cannot be written to; {path.name} goes to {work} for this run", file=sys.stderr)
        _elsewhere[path] = Path(work) / path.name
        path = _elsewhere[path]
    save_pictures(path, count, side, made)
    return path


def _own_pictures(files: Sequence[Path], side: int) -> Iterator[np.ndarray]:
    return in_threads(partial(_read_square, side), files, f"pictures, {side} x {side}")


def in_threads(function: Callable, items: Sequence[Any], title: str) -> Iterator[Any]:
    """`function` of each item, in their order, some at a time, with a progress bar."""
    ahead = 64  # results that may wait to be taken
    with ThreadPoolExecutor(THREADS) as pool, tqdm(total=len(items), desc=title, unit="", disable=None) as bar:
        for start in range(0, len(items), ahead):  # Pillow decodes outside Python's lock
            for made in pool.map(function, items[start : start + ahead]):
                yield made
                bar.update()


def _pickled_pictures(path: Path, count: int, side: int) -> Sequence[np.ndarray]:
    found = pickles.load(path)
    if not isinstance(found, (list, tuple, np.ndarray)) or not all(
        isinstance(picture, np.ndarray) and picture.shape == (side, side, 3) for picture in found
    ):
        raise UserError(f"{path}: should hold a list of pictures {side} x {side} x 3; preprocess again")
    if len(found) != count:
        raise UserError(f"{path}: {len(found)} pictures for {count} names; it is of another set")
    if any(picture.dtype != np.uint8 for picture in found):
        raise UserError(
            f"{path}: holds {found[0].dtype}, not uint8 in 0..255, as of a preprocessing that made black pictures; "
            "preprocess again (misc/preprocess_birds.py)"
        )
    return found


# Batches


class Samples:
    """What a training step is given of picture `index`, by draws that a number fixes.

    Args:
        side: 64 or 256.
        num_embedding: how many of a picture's caption embeddings are averaged.
    """

    def __init__(self, split: Split, side: int, num_embedding: int, seed: int) -> None:
        self.split, self.side, self.seed = split, side, seed
        self.pictures, self.error = split.pictures(LOAD_SIZES[side]), None
        self.captions = min(num_embedding, split.embeddings.shape[1])
        self._by_class = np.argsort(split.classes, kind="stable")
        ordered = split.classes[self._by_class]
        self._first, self._end = (np.searchsorted(ordered, split.classes, place) for place in ("left", "right"))

    def read(self, index: int, number: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(real, wrong) uint8 [side, side, 3], of another class the second, and the embedding float32 [d]."""
        rng = np.random.default_rng([self.seed, number])
        others = len(self.split) - (self._end[index] - self._first[index])
        wrong = self._by_class[(self._end[index] + rng.integers(others)) % len(self.split)]
        real, wrong = (self._cropped(self.pictures[which], rng) for which in (index, wrong))
        embeddings = self.split.embeddings[index]
        chosen = rng.permutation(len(embeddings))[: self.captions]
        return real, wrong, embeddings[chosen].mean(0)

    def _cropped(self, picture: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        top, left = rng.integers(LOAD_SIZES[self.side] - self.side + 1, size=2)
        crop = picture[top : top + self.side, left : left + self.side]
        return np.ascontiguousarray(crop[:, ::-1] if rng.random() < 0.5 else crop)


def training_batches(
    args: argparse.Namespace, split: Split, side: int, start_step: int = 0
) -> Iterator[tuple[Any, Any, Any]]:
    """Endless shuffled (real, wrong, embedding), float32 [batch, side, side, 3] in -1..1 twice and [batch, d].

    Each picture is cropped at random (76 -> 64, 304 -> 256) and mirrored or not; the wrong picture is of another class;
    the embedding is the mean of `args.num_embedding` of the picture's captions'. A function of (seed, step) alone.

    Args:
        args: batch_size, seed, num_embedding.
        side: 64 or 256.
    Raises:
        UserError: there is no wrong picture, since there is one picture only; the batch is larger than the set.
    """
    import tensorflow as tf

    from common.stream import sample_batches, shuffled_batches

    if len(split) < 2:
        raise UserError(f"{split.folder}: one picture only; training takes two at least")
    samples = Samples(split, side, args.num_embedding, args.seed)

    def sample(index, number):
        kinds = (tf.uint8, tf.uint8, tf.float32)
        real, wrong, embedding = tf.numpy_function(lambda i, n: samples.read(int(i), int(n)), [index, number], kinds)
        real, wrong = (
            tf.cast(tf.ensure_shape(picture, [side, side, 3]), tf.float32) / 127.5 - 1.0 for picture in (real, wrong)
        )
        return real, wrong, tf.ensure_shape(embedding, [split.embeddings.shape[2]])

    order = shuffled_batches(len(split), args.batch_size, args.seed, start_step).unbatch()
    return sample_batches(order, sample, args.batch_size, start_step, samples)
