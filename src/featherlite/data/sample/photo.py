"""One photo of one bird: scene, perch, bird, leaves in front, camera."""

from __future__ import annotations

import numpy as np
from PIL import Image

from featherlite.data.sample.bird import draw_bird
from featherlite.data.sample.camera import dappled, draw_light, jpeg_bytes, photograph
from featherlite.data.sample.leaves import draw_blades, draw_cover
from featherlite.data.sample.perch import draw_perch
from featherlite.data.sample.pose import draw_pose
from featherlite.data.sample.scene import draw_background, draw_place
from featherlite.data.sample.species import SPECIES

DESCRIPTION = (
    "A drawing made by featherlite (featherlite sample), not a photo of a real bird; the species is invented. "
    "Scores on such drawings are no evidence about real birds. Licence: CC0-1.0."
)
OVERSAMPLING = 2


def photo_rng(seed: int, species: int, index: int) -> np.random.Generator:
    """The generator that decides everything about one photo, whatever else is drawn."""
    return np.random.default_rng([seed, 1 + species, index])


def draw_photo(seed: int, species: int, index: int, px: int) -> tuple[Image.Image, int]:
    """An RGB picture (px square) of species number `species`, and the JPEG quality it is to be stored at."""
    rng = photo_rng(seed, species, index)
    kind = SPECIES[species]
    canvas = OVERSAMPLING * px
    light = draw_light(rng)
    place, perch, season = draw_place(rng)
    scene = draw_background(canvas, place, season, light, rng)
    pose = draw_pose(kind, canvas, perch in ("ground", "rock"), rng)
    draw_perch(scene, perch, pose, season, light, rng)
    bird = draw_bird(kind, pose, light, canvas, rng)
    if bird is not None:
        scene.paste(bird.image, bird.corner, bird.cover)
    if perch == "ground" and rng.random() < 0.8:
        draw_blades(scene, pose, season, light, rng)
    if rng.random() < 0.2:
        scene = draw_cover(scene, pose, season, light, rng)
    if light.kind in ("sun", "shade") and perch in ("branch", "feeder") and rng.random() < 0.3:
        scene = dappled(scene, rng)
    return photograph(scene, px, light, rng), int(np.clip(rng.normal(82, 9), 55, 96))


def draw_file(seed: int, species: int, index: int, px: int) -> bytes:
    """The JPEG file of one photo; the same arguments always give the same bytes."""
    image, quality = draw_photo(seed, species, index, px)
    return jpeg_bytes(image, quality, DESCRIPTION)
