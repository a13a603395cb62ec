"""Scales the images of Oxford-102 flowers and makes the set that data.py reads: train/ and test/.

python misc/preprocess_flowers.py                                      of Data/flowers
python misc/preprocess_flowers.py --data_path flowers --output_path scaled

It takes <data_path>/jpg/, the captions in text_c10/class_00001/image_00001.txt, whose folders are the classes, and the
split and embeddings of {train,test}/filenames.pickle and char-CNN-RNN-embeddings.pickle. Without those it draws a split
(--split) of the images that have captions.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import _path  # noqa: E402, F401  (finds ../common)

from common import cli  # noqa: E402
from misc import preprocess  # noqa: E402

if __name__ == "__main__":
    cli.leave(preprocess.main("flowers", __doc__))
