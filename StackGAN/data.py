"""A folder of images, captions and embeddings -> batches of (image, embedding, class).

<data_path>/train and <data_path>/test, each with

    images/<class>/<name>.jpg      any size; training sees the middle square
    captions/<class>/<name>.txt    a caption a line
    embeddings.npy                 of the captions, float32 [images, captions, size]; train_text_encoder.py writes it
    76images.npy, 304images.npy    the images as training reads them, uint8; made at the first use, mapped into memory
                                   (without random crops 64images.npy, 256images.npy)
    prepared.json                  what the .npy files were made of

misc/preprocess_birds.py and preprocess_flowers.py make such a set of the originals' archives, prepare.py of your own
images and captions, and sample_data.py draws one.
"""

import argparse
import hashlib
import json
import os
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any, Callable, Optional

import numpy as np
from PIL import Image, ImageOps
from tqdm import tqdm

from common import images as image_files
from common.cli import UserError, notice

LOAD_SIZES = {64: 76, 256: 304}  # size that a network sees -> size of the images that it is cropped from
SIZE = LOAD_SIZES[256]  # at which images are kept
EMBEDDINGS, PREPARED = "embeddings.npy", "prepared.json"
BY_ENCODER, BY_ATTRIBUTES = "train_text_encoder.py", "attributes"  # what made embeddings; the second: sample_data.py
MAX_TEXT = 2**26  # bytes of a file of captions or names
MAX_EMBEDDING = 2**16
THREADS = 4
SAMPLES = 1  # a stream of random numbers of its own


class Split:
    """The images of <data_path>/train or test, their classes, captions and, where they are asked for, embeddings.

    Attributes:
        files: of the images, by class and name; `filenames`: "class/name" of each, without suffix.
        classes: int64 [n]; where all are in one class, each image is one of its own.
        embeddings: float32 [n, captions an image, size], or None.
        crop: whether a network sees a part of each image; else the whole.
    """

    def __init__(self, folder: Any, embeddings: bool = True, crop: bool = True) -> None:
        self.folder, self.crop, self._images = Path(folder).expanduser(), crop, {}
        found = find_images(self.folder / "images")
        if not found:
            makers = "misc/preprocess_birds.py, prepare.py (your images) and sample_data.py (drawn birds) make a set"
            raise UserError(f"--data_path {self.folder.parent}: no images in {self.folder.name}/images; {makers}")
        self.filenames, self.files = list(found), list(found.values())
        _, classes = np.unique([name.rpartition("/")[0] for name in found], return_inverse=True)
        self.classes = (np.arange(len(found)) if classes.max() == 0 else classes).astype(np.int64)
        self.embeddings = read_embeddings(self.folder, self.filenames) if embeddings else None

    def __len__(self) -> int:
        return len(self.files)

    @cached_property
    def captions(self) -> Optional[list[list[str]]]:
        """Each image's captions, or None where the set has none.

        Raises:
            UserError: some images have captions and some not.
        """
        folder = self.folder / "captions"
        return [read_captions(folder, name) for name in self.filenames] if folder.is_dir() else None

    def images(self, size: int) -> np.ndarray:
        """All images at `size` pixels, uint8 [n, size, size, 3], out of <size>images.npy, mapped into memory; that is
        made first where it is missing or of other files.

        Raises:
            UserError: one does not decode.
        """
        if size in self._images:
            return self._images[size]
        path, shape = self.folder / f"{size}images.npy", (len(self), size, size, 3)
        stats = [(file.name, file.stat()) for file in self.files]
        made_of = _digest([(name, stat.st_size, stat.st_mtime_ns) for name, stat in stats])
        if not (path.is_file() and prepared(self.folder).get(path.name) == made_of):
            images = in_threads(lambda file: resized(square(file), size), self.files, f"images, {size} x {size}")
            if not os.access(self.folder, os.W_OK):
                notice(f"{self.folder} cannot be written to: {path.name} goes to a temporary file for this run")
                file = tempfile.TemporaryFile()  # noqa: SIM115  (it is gone with the array)
                file.writelines(image.data for image in images)
                return self._images.setdefault(size, np.memmap(file, np.uint8, "r", shape=shape))
            with _writing(path, made_of) as file:
                np.lib.format.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": shape})
                file.writelines(image.data for image in images)
        found = read_npy(path)
        if found.dtype != np.uint8 or found.shape != shape:
            raise UserError(f"{path}: is not what was made of {self.folder / 'images'}; remove it and repeat")
        return self._images.setdefault(size, found)

    def load_size(self, size: int) -> int:
        """The size of the images that a network that sees `size`, 64 or 256, is given crops of."""
        return LOAD_SIZES[size] if self.crop else size

    def crops(self, size: int, indices: Optional[Sequence[int]] = None) -> np.ndarray:
        """The middles of the images, or of some, as a network sees them: uint8 [n, size, size, 3], size 64 or 256."""
        edge = (self.load_size(size) - size) // 2
        rows = slice(None) if indices is None else np.asarray(indices)
        return np.array(self.images(self.load_size(size))[rows, edge : edge + size, edge : edge + size])


def find_images(root: Path) -> dict[str, Path]:
    """The images in a folder and in its sub-folders, the classes, by "name" or "class/name".

    Raises:
        UserError: a name is there twice.
    """
    found = {}
    for folder in [root, *sorted(path for path in root.glob("[!.]*") if path.is_dir())]:
        for path in image_files.find_images(folder):
            name = path.relative_to(root).with_suffix("").as_posix()
            if name in found:
                raise UserError(f"{root}: two images share the name {name}; rename one")
            found[name] = path
    return found


def read_lines(path: Path) -> list[str]:
    """The lines of a text file that are not blank, with single spaces; UTF-8, or else Latin-1.

    Raises:
        UserError: it cannot be read, is too large, or is no text.
    """
    if not path.is_file():  # a pipe would never end
        raise UserError(f"{path}: there is no such file")
    try:
        raw = path.read_bytes() if path.stat().st_size <= MAX_TEXT else b"\0"
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from None
    if b"\0" in raw:
        raise UserError(f"{path}: is no text file of captions or names")
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = raw.decode("latin-1")
    return [line for line in (" ".join(line.split()) for line in text.splitlines()) if line]


def read_captions(folder: Path, name: str) -> list[str]:
    """The captions of the image "class/name", one at least.

    Raises:
        UserError: the file is missing or holds no caption.
    """
    lines = read_lines(folder / f"{name}.txt")
    if not lines:
        raise UserError(f"{folder / name}.txt: holds no caption; write at least one, one a line")
    return lines


# The .npy files, and what they were made of.


def prepared(folder: Path) -> dict[str, Any]:
    """What `prepared.json` says, by the files' names; empty where there is none.

    Raises:
        UserError: it is not what is written here.
    """
    path = folder / PREPARED
    try:
        found = json.loads(path.read_text()) if path.is_file() else {}
        if isinstance(found.get(EMBEDDINGS, {}), dict):
            return found
    except (OSError, ValueError, RecursionError, AttributeError):
        pass
    raise UserError(f"{path}: is not what was written with the .npy files beside it; remove it and repeat")


def embeddings_made_by(folder: Any) -> Optional[str]:
    """What made a split's embeddings: "attributes" (sample_data.py), BY_ENCODER, or None where unknown."""
    return prepared(Path(folder)).get(EMBEDDINGS, {}).get("made_by")


def _digest(values: Any) -> str:
    return hashlib.sha256(json.dumps(values).encode()).hexdigest()[:16]


@contextmanager
def _writing(path: Path, made_of: Any) -> Iterator[Any]:
    """An .npy to write, which is there only when it is whole, and then is noted in `prepared.json`."""
    with tempfile.TemporaryDirectory(prefix=".unfinished-", dir=path.parent) as work:
        with open(Path(work, path.name), "wb") as file:
            yield file
        Path(work, PREPARED).write_text(json.dumps({**prepared(path.parent), path.name: made_of}, indent=2))
        os.replace(file.name, path)
        os.replace(Path(work, PREPARED), path.parent / PREPARED)


def save_embeddings(folder: Path, names: Sequence[str], embeddings: np.ndarray, made_by: str) -> None:
    """Writes a split's embeddings, float32 [images, captions an image, size] in the order of `names`."""
    with _writing(folder / EMBEDDINGS, {"made_by": made_by, "names": _digest(list(names))}) as file:
        np.save(file, np.asarray(embeddings, np.float32))


def read_embeddings(folder: Path, names: Sequence[str]) -> np.ndarray:
    """A split's embeddings, float32 [images, captions an image, size].

    Raises:
        UserError: there are none, or they are broken or of other images.
    """
    path = folder / EMBEDDINGS
    if not path.is_file():
        raise UserError(f"{path}: there are no embeddings yet; train_text_encoder.py makes them")
    made_for = prepared(folder).get(EMBEDDINGS, {}).get("names")
    found = check_embeddings(path, read_npy(path))
    if len(found) != len(names) or (made_for and made_for != _digest(list(names))):
        raise UserError(f"{path}: was made for other images than are there; make it again (train_text_encoder.py)")
    return found


def check_embeddings(path: Any, found: Any) -> np.ndarray:
    """Embeddings as float32 [images, captions, size]; what has two axes is one caption an image.

    Raises:
        UserError: they are something else.
    """
    if not isinstance(found, np.ndarray) or found.dtype.kind not in "fiu" or found.ndim not in (2, 3) or not found.size:
        raise UserError(f"{path}: holds no embeddings, an array of images x captions x numbers")
    found = np.ascontiguousarray(found[:, None] if found.ndim == 2 else found, np.float32)
    if found.shape[2] > MAX_EMBEDDING or not np.isfinite(found).all():
        raise UserError(f"{path}: holds numbers that are not finite, or embeddings of more than {MAX_EMBEDDING}")
    return found


def read_npy(path: Path) -> np.ndarray:
    """An .npy mapped into memory, never with pickles in it."""
    try:
        if not path.is_file():  # a pipe would never end
            raise FileNotFoundError("no file")
        return np.load(path, mmap_mode="r", allow_pickle=False)
    except Exception as error:
        raise UserError(f"{path}: is no .npy that can be read ({str(error)[:120]}); remove it and repeat") from error


# Images.


def square(path: Path) -> np.ndarray:
    """An image file's middle square, bicubic: uint8 [304, 304, 3]."""
    image = Image.fromarray(image_files.read_rgb(path))
    return np.asarray(ImageOps.fit(image, (SIZE, SIZE), Image.BICUBIC))


def resized(image: np.ndarray, size: int, how: int = Image.BICUBIC) -> np.ndarray:
    """A uint8 image [h, w, 3] at [size, size, 3], antialiased."""
    return image if image.shape[:2] == (size, size) else np.asarray(Image.fromarray(image).resize((size, size), how))


def in_threads(function: Callable, items: Sequence[Any], title: str) -> Iterator[Any]:
    """`function` of each item, in their order, some at a time (Pillow decodes outside Python's lock), with a bar."""
    with ThreadPoolExecutor(THREADS) as pool:
        yield from tqdm(pool.map(function, items), title, len(items), unit="", disable=None)


# Batches.


def training_batches(
    args: argparse.Namespace, split: Split, size: int, start_step: int, session: Any
) -> Iterator[tuple[Any, Any, Any]]:
    """Endless shuffled (images, embeddings, classes): float32 [batch, size, size, 3] in -1..1, float32 [batch, d] and
    int64 [batch], of several workers each worker's shard.

    An image is cropped at random (76 -> 64, 304 -> 256), if the split is to be, and mirrored or not; its embedding is
    the mean of some of its captions': a function of (seed, number of the sample in the run).

    Args:
        args: batch_size, seed, num_embedding (how many of an image's captions' embeddings are averaged).
        size: 64 or 256.
    Raises:
        UserError: the batch is larger than the set.
    """
    import tensorflow as tf

    from common.stream import sample_batches, shuffled_batches

    images, classes = split.images(split.load_size(size)), tf.constant(split.classes)

    def read(number, index):
        rng = np.random.default_rng([SAMPLES, args.seed, int(number)])
        top, left = rng.integers(images.shape[1] - size + 1, size=2)
        crop = images[index, top : top + size, left : left + size]
        image = np.ascontiguousarray(crop[:, ::-1] if rng.random() < 0.5 else crop)
        embeddings = split.embeddings[index]
        return image, embeddings[rng.permutation(len(embeddings))[: args.num_embedding]].mean(0)

    def sample(index, number):
        image, embedding = tf.numpy_function(read, [number, index], (tf.uint8, tf.float32))
        image = tf.cast(tf.ensure_shape(image, [size, size, 3]), tf.float32) / 127.5 - 1.0
        return image, tf.ensure_shape(embedding, [split.embeddings.shape[2]]), classes[index]

    order = shuffled_batches(len(split), args.batch_size, args.seed, start_step).unbatch()
    return sample_batches(sample, order, args.batch_size, start_step, session)


def held_out_batch(args: argparse.Namespace, split: Split, size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """One batch of `training_batches`' kind, always the same, of images that stand evenly in a split; not cropped at
    random. It is as large as the split where that is smaller than a batch."""
    rows = spread(args.batch_size, len(split))
    embeddings = split.embeddings[rows, : args.num_embedding].mean(1)
    return image_files.to_float(split.crops(size, rows), (-1.0, 1.0)), embeddings, split.classes[rows]


def spread(number: int, count: int) -> np.ndarray:
    """At most `number` of `count` indices, evenly over all of them, ascending."""
    number = min(number, count)
    return np.arange(number) * count // number
