"""Cuts the birds of CUB-200-2011 out of their images and makes the set that data.py reads: train/ and test/.

python misc/preprocess_birds.py                                        of Data/birds
python misc/preprocess_birds.py --data_path birds --output_path cut

It takes <data_path>/CUB_200_2011/{images/, images.txt, bounding_boxes.txt}, text_c10/ with the captions, and the split
and embeddings of {train,test}/filenames.pickle and char-CNN-RNN-embeddings.pickle. Without those it draws a split with
other classes in test/ than in train/ (--split), and train_text_encoder.py makes embeddings.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import _path  # noqa: E402, F401  (finds ../common)

from common import cli  # noqa: E402
from misc import preprocess  # noqa: E402

if __name__ == "__main__":
    cli.leave(preprocess.main("birds", __doc__))
