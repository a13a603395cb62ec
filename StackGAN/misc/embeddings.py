"""Files of embeddings: our own .npz, and .npy, .pickle and .t7 of others, none of them believed unchecked."""

import math
import os
import tempfile
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Optional

import numpy as np

from common import pictures
from common.cli import UserError
from misc import pickles, torch7

EMBEDDINGS = "embeddings.npz"
BY_ENCODER = "train_text_encoder.py"  # made them
EMBEDDING_FILES = {  # --embedding_type -> what is looked for, in this order
    "cnn-rnn": (EMBEDDINGS, "char-CNN-RNN-embeddings.pickle", "char-CNN-RNN-embeddings.t7"),
    "skip-thought": ("skip-thought-embeddings.pickle",),
}
HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}  # of .npy


def find_embeddings(folder: Path, embedding_type: str = "cnn-rnn") -> Optional[Path]:
    """The file of a split's embeddings, or None."""
    return next((folder / name for name in EMBEDDING_FILES[embedding_type] if (folder / name).is_file()), None)


def save_embeddings(folder: Path, filenames: Sequence[str], embeddings: np.ndarray, made_by: str) -> Path:
    """Writes a split's embeddings.npz and returns its path.

    Args:
        embeddings: float32 [pictures, captions a picture, numbers a caption], in the order of `filenames`.
        made_by: a word on what made them.
    """
    path = Path(folder) / EMBEDDINGS
    with tempfile.NamedTemporaryFile(dir=folder, prefix=".unfinished-", suffix=".npz", delete=False) as file:
        try:
            arrays = {"embeddings": np.asarray(embeddings, np.float32), "filenames": np.array(filenames)}
            np.savez(file, made_by=np.array(made_by), **arrays)
            file.close()
            os.chmod(file.name, 0o644)
            os.replace(file.name, path)
        except BaseException:
            os.unlink(file.name)
            raise
    return path


def embeddings_made_by(folder: Path) -> Optional[str]:
    """What made a split's embeddings: "attributes" (sample_data.py), BY_ENCODER, or None where unknown."""
    path = Path(folder) / EMBEDDINGS
    if not path.is_file():
        return None
    return str(_read_npz(path, {"made_by"}).get("made_by", "")) or None


def _read_npz(path: Path, names: set[str]) -> dict[str, np.ndarray]:
    """Those arrays of `names` that an .npz holds, each checked for its size before it is read.

    Raises:
        UserError: it is broken, too large or holds other things than numbers and text.
    """
    arrays = {}
    try:
        with zipfile.ZipFile(path) as archive:
            for info in archive.infolist():
                name = info.filename[: -len(".npy")]
                if name not in names or not info.filename.endswith(".npy"):
                    continue
                with archive.open(info) as member:
                    read_header = HEADERS[np.lib.format.read_magic(member)]
                    shape, fortran, dtype = read_header(member)
                    count = math.prod(shape)
                    if dtype.hasobject or dtype.kind not in "fiuUS":
                        raise ValueError(f"{name} is of type {dtype}")
                    if not 0 <= count * dtype.itemsize <= min(info.file_size, pictures.MAX_BYTES):
                        raise ValueError(f"{name} is said to be {shape}")
                    flat = np.frombuffer(member.read(count * dtype.itemsize), dtype, count)
                    arrays[name] = flat.reshape(shape, order="F" if fortran else "C")
    except Exception as error:  # zipfile and zlib raise nearly every kind on a broken file
        raise UserError(f"{path}: is no .npz that can be read ({str(error)[:120]}); make it again") from error
    return arrays


def read_embeddings(path: Any, filenames: Optional[Sequence[str]] = None) -> np.ndarray:
    """The embeddings in a file, float32 [pictures, captions a picture, numbers a caption].

    Args:
        path: .npz (`embeddings`), .npy, .pickle or .t7: an array of three axes, or a list of arrays of two. An array of
            two axes is read as one caption a picture; of a table in .t7 its `fea_txt` is taken.
        filenames: the pictures that they belong to.
    Raises:
        UserError: it is broken, holds something else, or is not of as many pictures.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"{path}: there is no such file")
    if path.suffix == ".npz":
        arrays = _read_npz(path, {"embeddings", "filenames"})
        found = arrays.get("embeddings")
        made_for = arrays.get("filenames")
        if filenames is not None and made_for is not None and made_for.tolist() != list(filenames):
            raise UserError(
                f"{path}: was made for other pictures than are there; make it again (train_text_encoder.py)"
            )
    elif path.suffix == ".npy":
        found = read_npy(path)
    else:
        found = torch7.load(path) if path.suffix == ".t7" else pickles.load(path)
        if isinstance(found, dict):
            found = found.get("fea_txt")
    try:
        # Of pictures with unequally many captions, as many as all have.
        if isinstance(found, (list, tuple)) and all(isinstance(part, np.ndarray) and part.ndim == 2 for part in found):
            fewest = min(map(len, found), default=0)
            found = np.stack([part[:fewest] for part in found]) if found else np.zeros(0)
        elif isinstance(found, (list, tuple)) and all(
            isinstance(part, np.ndarray) and part.ndim == 1 for part in found
        ):
            found = np.stack(found)
    except ValueError:
        found = None
    if not isinstance(found, np.ndarray) or found.dtype.kind not in "fiu" or found.ndim not in (2, 3) or not found.size:
        raise UserError(f"{path}: holds no embeddings, an array of pictures x captions x numbers")
    found = found[:, None] if found.ndim == 2 else found
    if filenames is not None and len(found) != len(filenames):
        raise UserError(
            f"{path}: embeddings of {len(found)} pictures, but there are {len(filenames)}; it is of another set"
        )
    found = np.ascontiguousarray(found, np.float32)
    if not np.isfinite(found).all():
        raise UserError(f"{path}: holds numbers that are not finite; make it again")
    return found


def read_npy(path: Path) -> np.ndarray:
    """An .npy mapped into memory, never with pickles in it."""
    try:
        return np.load(path, mmap_mode="r", allow_pickle=False)
    except Exception as error:
        raise UserError(f"{path}: is no .npy that can be read ({str(error)[:120]}); remove it and repeat") from error
