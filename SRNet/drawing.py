"""A sample of the data set: two words of one style on one background (no TensorFlow needed).

Everything is drawn from one random generator, so that a sample depends on the seed and its number alone. `Recipe` holds
every probability; the figures are those of SRNet-Datagen where it has them.
"""

import colorsys
import io
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain
from pathlib import Path
from types import SimpleNamespace
from typing import Callable, Optional

import fonts
import numpy as np
from PIL import Image, ImageDraw, ImageFilter
from scipy.fft import dstn, idstn, next_fast_len
from scipy.ndimage import binary_dilation, gaussian_filter, map_coordinates
from skimage.color import rgb2lab
from skimage.morphology import skeletonize
from skimage.transform import EuclideanTransform, ProjectiveTransform

from common import images
from common.cli import UserError

FINE = 2  # letters are drawn at twice their size and averaged, after they are bent and turned
GREY = 127  # ground of t_t
RANGE = (0.0, 255.0)  # black and white of what is drawn
WIDEST = 1600  # pixels of a sample
LARGEST_SIDE = 1024  # photographs are made smaller than this before they are cut
MARGIN = 8  # pixels around a sample in which the blending settles
TRIES = 50  # draws of a word or a colour before another way is taken


@dataclass(frozen=True)
class Recipe:
    """What is drawn how often. Probabilities are 0..1; the spreads are standard deviations, cut off at three."""

    size: tuple[int, int] = (25, 60)  # of the font in pixels
    capitalised: float = 0.10
    upper: float = 0.04
    underline: float = 0.01
    bold: float = 0.05
    oblique: float = 0.02
    curved: float = 0.05
    sag: tuple[float, float] = (0.03, 0.12)  # of a curved word, in its widths
    rotation: float = 1.0  # degrees
    zoom: float = 0.1  # about 1, each axis
    shear: float = 2.0  # degrees, each axis
    perspective: float = 0.0005  # 1 / pixels, each axis
    padding: tuple[int, int] = (10, 20)  # the most pixels above, and below; on the left, and on the right
    border: float = 0.02
    border_width: tuple[float, float] = (0.03, 0.06)  # in font sizes
    shadow: float = 0.02
    shadow_offset: tuple[float, float] = (0.04, 0.12)  # in font sizes, each axis
    elastic: float = 0.001
    random_colour: float = 0.5  # else one that goes with the background
    contrast: float = 40.0  # CIE Lab between letters and four fifths of the background, where that can be had
    blending: float = 0.5  # share of Poisson editing, the rest is laid over: by itself it loses words on busy grounds
    visible: float = 30.0  # change of four fifths of the letters' pixels, 0..255; below it they are laid over alone
    jitter: float = 0.8  # brightness, contrast and colour of the background, each
    jitter_range: tuple[float, float] = (0.7, 1.3)
    # The rest is not the original's: what the signs of a photograph have that words on scenery have not.
    plain: float = 0.5  # share of samples on a board, a background that is smooth
    degraded: float = 0.5  # share of samples as a small, noisy or compressed photograph shows them
    low: float = 0.6  # of those
    low_size: tuple[int, int] = (12, 40)  # font pixels that such a photograph has for a word
    noise: float = 0.6
    noise_deviation: tuple[float, float] = (1.0, 8.0)  # of a pixel, 0..255
    jpeg: float = 0.6
    jpeg_quality: tuple[int, int] = (30, 90)
    fit: bool = False  # the target word is as wide as the source's
    fit_range: tuple[float, float] = (0.6, 1.6)  # times its own width; other pairs are drawn again


RECIPE = Recipe()


@dataclass(frozen=True)
class Sources:
    """What the samples of a folder are made from."""

    fonts: list[tuple[Path, frozenset]]  # with those characters of the words that each has
    words: list[str]
    backgrounds: list[Path]
    seed: int
    part: int = 0  # of the data set: 0, or 1 for the held-out one
    shape: Optional[tuple[int, int]] = None
    recipe: Recipe = RECIPE

    def having(self, text: str) -> list[tuple[Path, frozenset]]:
        """The fonts that have all characters of a text."""
        signs = fonts.signs(text)
        return [(path, known) for path, known in self.fonts if known.issuperset(signs)]


def variants(word: str) -> list[str]:
    """A word as it is, capitalised, and in upper case."""
    return [word, word[:1].upper() + word[1:], word.upper()]


def chance(rng: np.random.Generator, probability: float) -> bool:
    return bool(rng.random() < probability)


def spread(rng: np.random.Generator, deviation: float) -> float:
    """A normal draw about 0, cut off at three deviations."""
    return float(np.clip(rng.normal(), -3, 3) * deviation)


def draw_style(rng: np.random.Generator, font: Path, recipe: Recipe) -> SimpleNamespace:
    """Draws what the two words of a sample have in common, but for their colours."""
    turn, lean_x, lean_y = (np.deg2rad(spread(rng, s)) for s in (recipe.rotation, recipe.shear, recipe.shear))
    zoom_x, zoom_y = (1 + spread(rng, recipe.zoom) for _ in range(2))
    tilt_x, tilt_y = (spread(rng, recipe.perspective) for _ in range(2))
    lean_x -= np.deg2rad(12) * chance(rng, recipe.oblique)  # y points down
    matrix = np.array([[np.cos(turn), -np.sin(turn), 0], [np.sin(turn), np.cos(turn), 0], [tilt_x, tilt_y, 1]])
    matrix = matrix @ [[1, np.tan(lean_x), 0], [np.tan(lean_y), 1, 0], [0, 0, 1]] @ np.diag([zoom_x, zoom_y, 1])
    return SimpleNamespace(
        font=font,
        matrix=matrix,  # [3, 3] about the middle of the word
        size=int(rng.integers(recipe.size[0], recipe.size[1] + 1)),  # pixels
        bold=chance(rng, recipe.bold),
        underline=chance(rng, recipe.underline),
        border=rng.uniform(*recipe.border_width) if chance(rng, recipe.border) else 0.0,  # font sizes
        # How far the middle hangs below the ends, in widths.
        sag=rng.uniform(*recipe.sag) * rng.choice([-1, 1]) if chance(rng, recipe.curved) else 0.0,
        elastic=int(rng.integers(2**31)) if chance(rng, recipe.elastic) else None,  # seed of its waves
    )


def draw_word(text: str, style: SimpleNamespace) -> Optional[tuple[np.ndarray, np.ndarray]]:
    """What a word's letters cover, bent and turned, and what they cover with their border, uint8 [h, w] 0..255, cut to
    the latter; None where nothing can be seen of it, or it is too wide."""
    size = style.size * FINE
    font = fonts.load(style.font, size)
    strokes = [round(size * 0.025) * style.bold]
    if style.border:
        strokes.append(strokes[0] + max(FINE, round(size * style.border)))
    try:
        left, top, right, bottom = font.getbbox(text, anchor="ls", stroke_width=strokes[-1])
    except (OSError, ValueError):  # FreeType's, of a glyph that is damaged
        return None
    thick, low = max(FINE, size // 16), size // 8
    if style.underline:
        bottom = max(bottom, low + thick + strokes[-1])
    if right <= left or bottom <= top or right - left > WIDEST * FINE:
        return None
    layers = []
    for stroke in strokes:
        layer = Image.new("L", (right - left + 2, bottom - top + 2))
        draw = ImageDraw.Draw(layer)
        draw.text((1 - left, 1 - top), text, 255, font, anchor="ls", stroke_width=stroke)
        if style.underline:
            x, y, edge = 1 + strokes[-1], 1 - top + low, stroke - strokes[0]
            draw.rectangle((x - edge, y - edge, layer.width - 1 - x + edge, y + thick - 1 + edge), 255)
        if style.sag:
            layer = bend(layer, style.sag)
        if style.elastic is not None:
            layer = wave(layer, style.elastic, style.size)
        layers.append(warp(layer, style.matrix))
    box = layers[-1].getbbox()
    if box is None:
        return None
    layers = [np.asarray(layer.crop(box).reduce(FINE)) for layer in layers]
    return (layers[0], layers[-1]) if layers[0].max() > GREY // 4 else None  # more than specks


def bend(layer: Image.Image, sag: float) -> Image.Image:
    """Moves each column down or up, along a parabola."""
    across = np.linspace(-1, 1, layer.width)
    fall = np.round(sag * layer.width * (1 - across**2)).astype(int)
    fall -= fall.min()
    pixels = np.pad(np.asarray(layer), ((0, fall.max()), (0, 0)))
    rows = (np.arange(len(pixels))[:, None] - fall) % len(pixels)
    return Image.fromarray(np.take_along_axis(pixels, rows, axis=0))


def wave(layer: Image.Image, seed: int, size: int) -> Image.Image:
    """Moves each pixel a little, its neighbours alike."""
    pixels = np.pad(np.asarray(layer), size // 4)
    rng = np.random.default_rng(seed)
    shifts = [gaussian_filter(rng.uniform(-1, 1, pixels.shape), size / 4) for _ in range(2)]
    shifts = [shift / max(np.abs(shift).max(), 1e-9) * size / 6 for shift in shifts]
    grid = np.mgrid[: pixels.shape[0], : pixels.shape[1]]
    return Image.fromarray(map_coordinates(pixels, [axis + shift for axis, shift in zip(grid, shifts)], order=1))


def warp(layer: Image.Image, matrix: np.ndarray) -> Image.Image:
    """A layer under a projective map about its middle, as large as it then is; very wide words are tilted less."""
    width, height = layer.size
    scaled = matrix.copy()
    scaled[2, :2] /= FINE  # the tilt is meant in finished pixels
    scaled[2, :2] *= min(1, 0.25 / max(np.abs(scaled[2, :2]) @ [width / 2, height / 2], 1e-9))
    turned = EuclideanTransform(translation=(-width / 2, -height / 2)) + ProjectiveTransform(scaled)
    corners = turned(np.array([(0, 0), (width, 0), (0, height), (width, height)]))
    left, top = np.floor(corners.min(0))
    right, bottom = np.ceil(corners.max(0))
    inverse = np.linalg.inv((turned + EuclideanTransform(translation=(-left, -top))).params)
    size = (int(right - left), int(bottom - top))
    return layer.transform(size, Image.PERSPECTIVE, tuple((inverse / inverse[2, 2]).ravel()[:8]), Image.BICUBIC)


@lru_cache(maxsize=16)
def photograph(path: Path) -> Image.Image:
    """A background as RGB, no side longer than LARGEST_SIDE.

    Raises:
        UserError: it does not decode.
    """
    image = Image.fromarray(images.read_rgb(path))
    image.thumbnail((LARGEST_SIDE, LARGEST_SIDE), Image.BICUBIC)
    return image


def draw_colour(rng: np.random.Generator, ground: np.ndarray, recipe: Recipe) -> np.ndarray:
    """A colour, float32 [3] in 0..255, to be seen on a ground of colours [n, 3]: any, or one of its hue or the hue
    opposite, light on dark or dark on light. Where none stands out from nearly all of the ground, the one that does
    best."""
    hue, lightness, saturation = colorsys.rgb_to_hls(*(ground.mean(axis=0) / 255.0))
    best, most, behind = None, -1.0, rgb2lab(ground / 255.0)
    for _ in range(TRIES):
        if chance(rng, recipe.random_colour):
            colour = rng.uniform(0, 255, 3)
        else:
            turned = hue + rng.choice([0, 0.5]) + rng.normal(0, 0.05)
            light = rng.uniform(0.65, 1) if lightness < 0.5 else rng.uniform(0, 0.35)
            colour = 255 * np.array(colorsys.hls_to_rgb(turned % 1, light, rng.uniform(saturation, 1)))
        distance = np.percentile(np.linalg.norm(behind - rgb2lab(colour[None] / 255.0), axis=1), 20)
        if distance > most:
            best, most = colour.astype(np.float32), distance
        if most >= recipe.contrast:
            break
    return best


def draw_background(rng: np.random.Generator, path: Path, height: int, width: int, recipe: Recipe) -> np.ndarray:
    """A piece of a photograph in other light, or a board of its colours, float32 [height, width, 3], 0..255."""
    image = photograph(path)
    scale = min(2.0, max(1.0, height / image.height, width / image.width))
    if scale > 1:
        image = image.resize([round(side * scale) for side in image.size], Image.BICUBIC)
    left, top = (int(rng.integers(max(1, have - want + 1))) for have, want in zip(image.size, (width, height)))
    box = (left, top, min(left + width, image.width), min(top + height, image.height))
    piece = np.asarray(image.crop(box), np.float32)
    if piece.shape[:2] != (height, width):  # a small photograph goes on as its mirror image
        piece = np.pad(piece, [(0, height - piece.shape[0]), (0, width - piece.shape[1]), (0, 0)], "symmetric")
    luma = np.float32([0.299, 0.587, 0.114])
    for still in (lambda x: 0, lambda x: (x @ luma)[..., None], lambda x: (x @ luma).mean()):
        if chance(rng, recipe.jitter):  # of brightness, of colour, of contrast
            piece = still(piece) + (piece - still(piece)) * np.float32(rng.uniform(*recipe.jitter_range))
    if recipe.plain and chance(rng, recipe.plain):  # no draw at 0: the samples are those of sets without boards
        piece = gaussian_filter(piece, (height / 2, height / 2, 0), mode="nearest")
    return piece.clip(0, 255)


def blend(background: np.ndarray, composite: np.ndarray) -> np.ndarray:
    """Poisson editing with mixed gradients (Perez et al., 2003): of the background and of what is laid over it the
    stronger gradient holds in each place, so that the background's texture shows through. Both float32 [h, w, 3]; the
    outermost pixels stay as they are. Solved in sines: the difference from the background is 0 all around.
    """
    across, down = (
        np.where(np.abs(top) > np.abs(under), top - under, 0)
        for top, under in ((np.diff(composite, axis=axis), np.diff(background, axis=axis)) for axis in (1, 0))
    )
    divergence = np.diff(across, axis=1)[1:-1] + np.diff(down, axis=0)[:, 1:-1]
    rows, columns = divergence.shape[:2]
    waves_down, waves_across = (2 * np.cos(np.pi * np.arange(1, n + 1) / (n + 1)) - 2 for n in (rows, columns))
    eigenvalues = (waves_down[:, None] + waves_across).astype(np.float32)[..., None]
    blended = background.copy()
    blended[1:-1, 1:-1] += idstn(dstn(divergence, 1, axes=(0, 1)) / eigenvalues, 1, axes=(0, 1))
    return blended.clip(0, 255)


def degrade(rng: np.random.Generator, sample: dict[str, np.ndarray], size: int, recipe: Recipe) -> None:
    """Makes of some samples what a small, noisy or compressed photograph shows of a word with a font of `size` pixels:
    all images but i_t and t_sk are blurred, since a style's blur is learnt; noise, which cannot be foretold, is in i_s.
    """
    if not chance(rng, recipe.degraded):
        return
    (least, most), (worst, best) = recipe.low_size, recipe.jpeg_quality
    resolution = rng.uniform(least, max(least, min(most, size))) / size if chance(rng, recipe.low) else 1.0
    noise = rng.uniform(*recipe.noise_deviation) if chance(rng, recipe.noise) else 0.0
    quality = int(rng.integers(worst, best + 1)) if chance(rng, recipe.jpeg) else None
    full = sample["i_s"].shape[1::-1]
    few = [max(4, round(side * resolution)) for side in full]  # pixels that the photograph has
    for name in ("i_s", "t_t", "t_b", "t_f", "mask_t") if resolution < 1 else ():
        small = Image.fromarray(sample[name]).resize(few, Image.BOX)
        sample[name] = np.asarray(small.resize(full, Image.BICUBIC))
    if noise:  # neighbours share it where pixels are few
        grain = np.random.default_rng(int(rng.integers(2**31))).normal(128, noise, (*few[::-1], 3))
        grain = Image.fromarray(images.to_uint8(grain, RANGE)).resize(full, Image.BICUBIC)
        sample["i_s"] = images.to_uint8(sample["i_s"] + (np.asarray(grain, np.float32) - 128), RANGE)
    if quality is not None:
        stream = io.BytesIO()
        Image.fromarray(sample["i_s"]).save(stream, "JPEG", quality=quality)
        sample["i_s"] = np.asarray(Image.open(stream))


def draw_paint(rng: np.random.Generator, background: np.ndarray, style: SimpleNamespace, recipe: Recipe) -> Callable:
    """Draws a sample's colours, on a background of colours [n, 3], and its shadow. Returns a function that lays a word,
    as `draw_word` gives it, over a ground float32 [h, w, 3]."""
    letter_colour = draw_colour(rng, background, recipe)
    border_colour = draw_colour(rng, letter_colour[None], recipe) if style.border else letter_colour
    shadow = chance(rng, recipe.shadow)
    if shadow:
        x, y = (style.size * rng.uniform(*recipe.shadow_offset) * rng.choice([-1, 1]) for _ in range(2))
        blur, darkness = style.size * rng.uniform(0.01, 0.05), rng.uniform(0.5, 0.9)

    def over(ground: np.ndarray, letters: np.ndarray, ink: np.ndarray) -> np.ndarray:
        if shadow:
            shade = Image.fromarray(ink).transform(ink.shape[::-1], Image.AFFINE, (1, 0, -x, 0, 1, -y), Image.BILINEAR)
            shade = np.asarray(shade.filter(ImageFilter.GaussianBlur(blur)), np.float32)
            ground = ground * (1 - shade * (darkness / 255))[..., None]
        for mask, colour in ((ink, border_colour), (letters, letter_colour)):
            ground = ground + (colour - ground) * (mask / np.float32(255))[..., None]
        return ground

    return over


def draw_pair(rng: np.random.Generator, sources: Sources) -> tuple[str, str, Path]:
    """The source word, the target word and a font that has both, as often as words and fonts are given."""
    words, recipe = sources.words, sources.recipe
    first = words[rng.integers(len(words))]
    able = sources.having(first)
    path, known = able[rng.integers(len(able))]
    draws = (words[rng.integers(len(words))] for _ in range(TRIES))
    able = (word for word in chain(draws, words) if word != first and known.issuperset(fonts.signs(word)))
    second = next(able, first)
    number = 1 if chance(rng, recipe.capitalised) else 2 if chance(rng, recipe.upper) else 0
    cased = [variants(word)[number] for word in (first, second)]
    return (*(cased if known.issuperset(fonts.signs("".join(cased))) else (first, second)), path)


def centred(layer: np.ndarray, canvas: list[int], corner: tuple[int, int], room: tuple[int, int]) -> np.ndarray:
    """A layer in the middle of a room, which begins at a corner of a canvas of zeros."""
    result = np.zeros(canvas, np.uint8)
    top, left = (start + (most - own) // 2 for start, most, own in zip(corner, room, layer.shape))
    result[top : top + layer.shape[0], left : left + layer.shape[1]] = layer
    return result


def solid(mask: np.ndarray) -> np.ndarray:
    """Which pixels are of letters, bool: those covered half as much as most. Hair lines cover no pixel wholly."""
    return mask > 0.45 * np.percentile(mask[mask > 0], 95)


def thin(mask: np.ndarray) -> np.ndarray:
    """The skeleton of the letters, uint8 [h, w] 0 or 255, in lines of three pixels: one would not outlive a resize."""
    # Very wide samples are made narrower than they are made lower.
    across = 2 * max(1, round(mask.shape[1] / 256)) + 1
    lines = binary_dilation(skeletonize(solid(mask)), np.ones((3, across), bool))
    return lines.astype(np.uint8) * 255


def draw_sample(sources: Sources, index: int) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """One sample, which depends on the sources, with their seed and part, and the index alone.

    Returns: the seven images by their folders' names, uint8 [h, w, 3], or [h, w] of t_sk and mask_t. mask_t shows
        letters and border, t_sk letters alone, neither of them the shadow. And the words of i_s and i_t.
    Raises:
        UserError: no word can be drawn, or a background does not decode.
    """
    recipe = sources.recipe
    rng = np.random.default_rng([sources.seed, sources.part, index])
    for _ in range(TRIES):
        first, second, font = draw_pair(rng, sources)
        style = draw_style(rng, font, recipe)
        drawn = [draw_word(word, style) for word in (first, second)]
        if None in drawn:
            continue
        if not recipe.fit:
            break
        least, most = recipe.fit_range
        (height, own), width = drawn[1][1].shape, drawn[0][1].shape[1]
        if least <= width / own <= most:
            drawn[1] = [np.asarray(Image.fromarray(layer).resize((width, height), Image.BICUBIC)) for layer in drawn[1]]
            break
    else:
        raise UserError(f"none of {TRIES} words could be drawn, the last {first!r} with {font}; name other fonts")
    room = tuple(max(pair[1].shape[axis] for pair in drawn) for axis in (0, 1))
    (above, below), (before, after) = (rng.integers(0, most + 1, 2) for most in recipe.padding)
    height, width = int(max(16, room[0] + above + below)), int(max(16, room[1] + before + after))
    # The canvas is larger by a margin, and by a little more where that makes its sines fast to compute.
    canvas = [next_fast_len(side + 2 * MARGIN - 1) + 1 for side in (height, width)]
    inside = (slice(MARGIN, MARGIN + height), slice(MARGIN, MARGIN + width))
    corner = (MARGIN + above, MARGIN + before)
    source, target = ([centred(layer, canvas, corner, room) for layer in pair] for pair in drawn)
    path = sources.backgrounds[rng.integers(len(sources.backgrounds))]
    background = draw_background(rng, path, *canvas, recipe)
    over = draw_paint(rng, background[inside][::5, ::5].reshape(-1, 3), style, recipe)

    def laid(pair: list[np.ndarray]) -> np.ndarray:
        composite = over(background, *pair)
        blended = composite + np.float32(recipe.blending) * (blend(background, composite) - composite)
        changed = np.abs(blended - background).max(axis=2)[solid(pair[1])]
        return blended if np.percentile(changed, 20) >= recipe.visible else composite

    standard = fonts.standard_font(second, more=[path for path, _ in sources.having(second)[:1]])
    sample = {
        "i_t": fonts.standard_image(second, standard, (height, width)),
        "i_s": laid(source)[inside],
        "t_sk": thin(target[0])[inside],
        "t_t": over(np.full((*canvas, 3), GREY, np.float32), *target)[inside],
        "t_b": background[inside],
        "t_f": laid(target)[inside],
        "mask_t": target[1][inside],
    }
    sample = {name: images.to_uint8(image, RANGE) for name, image in sample.items()}
    degrade(rng, sample, style.size, recipe)
    if sources.shape:
        size = sources.shape[::-1]
        sample = {name: np.asarray(Image.fromarray(x).resize(size, Image.BICUBIC)) for name, x in sample.items()}
    return sample, {"i_s": first, "i_t": second}
