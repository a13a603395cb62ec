"""Sentences as users write them ("a red bird"), which name less than the captions that a text encoder learns from.

Trained on captions of three to five parts alone, it puts a shorter sentence anywhere. So sentences are made of what
captions name, and the embedding of each is to be the mean over all captions that name as much. For an encoder that is
trained already: the embeddings of captions stay as they are. Not in Reed et al. (2016).
"""

import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from functools import partial, reduce
from itertools import islice, takewhile
from typing import Optional

import numpy as np

FEWEST, MOST = 8, 500  # captions that a mean is taken of, about
PARTS = 2  # at most in a sentence, beside the whole
ARTICLES = ("a", "an", "the", "this", "that", "its", "it")
RELATIONS = ("of", "in", "on", "at", "under", "over", "to", "from", "for", "by", "but", "there", "are")
CUTS = re.compile(r"(,|\.|\band\b|\bwith\b|\bhas\b|\bhave\b|\bis\b|\bthat\b|\bwhich\b|\bwhose\b)")

Named = dict[str, list[str]]  # of a caption: {noun: its adjectives}


def named(caption: str) -> tuple[str, Named]:
    """What a caption names: the whole's noun ("bird"), and {noun: adjectives} of it and of its parts.

    "this small bird is blue and has a long tail" -> "bird", {"bird": ["small", "blue"], "tail": ["long"]}
    """
    whole, found = "", {}
    fragments = ["", *CUTS.split(caption.lower())]  # each behind the word that it was cut at
    for cut, fragment in zip(fragments[::2], fragments[1::2]):
        words = [word for word in re.findall(r"[a-z][a-z'-]*", fragment) if word not in ARTICLES]
        # "a bird in the sky" is a bird.
        words = list(takewhile(lambda word: word not in RELATIONS, words))
        if not whole and words:
            whole, found = words[-1], {words[-1]: words[:-1]}
        elif whole and cut == "is":
            found[whole] += [word for word in words if word != whole]
        elif 1 < len(words) < 4 and words[-1] not in found:
            found[words[-1]] = words[:-1]
    return whole, found


def article(words: Sequence[str]) -> str:
    """Words with "a" or "an" before them, unless the last is a plural."""
    text = " ".join(words)
    return text if text.endswith("s") else f"{'an' if text[0] in 'aeiou' else 'a'} {text}"


class ShortSentences:
    """Sentences and their embeddings, made of captions and theirs.

    Args:
        captions: each once. embeddings: float32 [captions, size].
    """

    def __init__(self, captions: Sequence[str], embeddings: np.ndarray) -> None:
        self.captions = [named(caption) for caption in captions]
        self.whole = Counter(noun for noun, _ in self.captions).most_common(1)[0][0]
        self.embeddings, self.length = embeddings, float(np.sqrt(np.mean(embeddings**2)))
        rows = defaultdict(list)  # of the captions that name a pair of noun and adjective
        for row, (whole, found) in enumerate(self.captions):
            # A whole of another noun is a kind, and its adjectives a part of the name: "black footed albatross".
            for noun in found if whole == self.whole else set(found) - {whole}:
                for adjective in found[noun]:
                    rows[noun, adjective].append(row)
        self.rows = {pair: np.unique(found) for pair, found in rows.items() if len(found) >= FEWEST}
        self.pairs = sorted(self.rows)

    def draw(self, rng: np.random.Generator) -> Optional[tuple[str, np.ndarray]]:
        """A sentence and its embedding [size], of the length that captions' have; None: too few captions say so.

        Half of them are of a caption, half of a pair of noun and adjective, so that what is rare comes often enough.
        """
        row, first = rng.integers(len(self.captions)), None
        if self.pairs and rng.random() < 0.5:
            first = self.pairs[rng.integers(len(self.pairs))]
            row = rng.choice(self.rows[first])
        sentence, pairs = self.shorter(rng, row, first)
        if not pairs:
            return None
        rows = reduce(partial(np.intersect1d, assume_unique=True), [self.rows[pair] for pair in pairs])
        if len(rows) < FEWEST:
            return None
        mean = self.embeddings[rows[:: 1 + len(rows) // MOST]].mean(0)
        return sentence, mean * (self.length / np.sqrt(np.mean(mean**2)))

    def shorter(
        self, rng: np.random.Generator, row: int, first: Optional[tuple[str, str]] = None
    ) -> tuple[str, list[tuple[str, str]]]:
        """A sentence that names a part of what a caption does, and its pairs of noun and adjective; "" and none, where
        too few captions name one of them.

        Args:
            row: the caption's. first: a pair of its that is to be among them.
        """
        whole, found = self.captions[row]
        of_whole = found.get(self.whole, []) if whole == self.whole else []
        of_whole = [word for word in of_whole if rng.random() < 0.6 or (self.whole, word) == first]
        others = [noun for noun, adjectives in found.items() if noun not in (whole, self.whole) and adjectives]
        others = [others[i] for i in rng.permutation(len(others))]
        others = sorted(others, key=lambda noun: not first or noun != first[0])[: rng.integers(0, PARTS + 1)]
        pairs = [(self.whole, word) for word in of_whole] + [(noun, word) for noun in others for word in found[noun]]
        if not pairs or not all(pair in self.rows for pair in pairs):
            return "", []
        parts = " and ".join(article([*found[noun], noun]) for noun in others)
        return self.text(rng, of_whole, parts), pairs

    def text(self, rng: np.random.Generator, whole: Sequence[str], parts: str) -> str:
        """The same in one of the ways that people write it."""
        start = rng.choice(["this", "the"])
        ways = [f"{article([*whole, self.whole])}{' with ' * bool(parts)}{parts}"] * 2
        if len(whole) == 1:
            ways += [f"{start} {self.whole} is {whole[0]}{' and has ' * bool(parts)}{parts}"]
            ways += [f"{whole[0]} {self.whole}{' with ' * bool(parts)}{parts}"]
        elif parts:
            ways += [f"{' '.join([start, *whole, self.whole])} has {parts}"]
        return str(rng.choice(ways)) + str(rng.choice(["", "."]))

    def batch(self, rng: np.random.Generator, n: int) -> tuple[list[str], np.ndarray]:
        """As many sentences and embeddings [n, size]; fewer where captions have too little in common."""
        drawn = list(islice(filter(None, (self.draw(rng) for _ in range(20 * n))), n))
        sentences, embeddings = zip(*drawn) if drawn else ((), np.empty([0, self.embeddings.shape[1]]))
        return list(sentences), np.asarray(embeddings, np.float32)
