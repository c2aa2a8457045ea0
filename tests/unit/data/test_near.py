"""Finding photos that show the same picture."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageOps

from featherlite.data.look import look
from featherlite.data.near import SAME, Twins, describe, near_duplicates
from featherlite.data.sample.photo import draw_photo
from featherlite.data.source import Photo, scan

Drawn = list[Image.Image]


@pytest.fixture(scope="module")
def drawn() -> Drawn:
    return [draw_photo(0, number % 8, number, 128)[0] for number in range(32)]


def jpeg(image: Image.Image, quality: int = 90) -> bytes:
    content = io.BytesIO()
    image.save(content, "JPEG", quality=quality)
    return content.getvalue()


def crop(image: Image.Image, left: float, top: float, width: float, height: float) -> Image.Image:
    box = (left * image.width, top * image.height, (left + width) * image.width, (top + height) * image.height)
    return image.crop(tuple(round(edge) for edge in box))  # type: ignore[arg-type]


def stamped(image: Image.Image) -> Image.Image:
    from PIL import ImageDraw

    image = image.copy()
    ImageDraw.Draw(image).text((10, image.height * 0.8), "(c) somebody", fill="white", font_size=14)
    return image


COPIES = {
    "saved again": lambda image: jpeg(image, 40),
    "smaller": lambda image: jpeg(image.resize((80, 80))),
    "squashed": lambda image: jpeg(image.resize((128, 96))),
    "mirrored": lambda image: jpeg(ImageOps.mirror(image)),
    "brighter": lambda image: jpeg(ImageEnhance.Brightness(image).enhance(1.3)),
    "duller": lambda image: jpeg(ImageEnhance.Contrast(image).enhance(0.6)),
    "grey": lambda image: jpeg(image.convert("L")),
    "cropped": lambda image: jpeg(crop(image, 0.03, 0.06, 0.92, 0.9)),
    "cropped at one side": lambda image: jpeg(crop(image, 0.0, 0.1, 1.0, 0.9)),
    "mirrored and cropped": lambda image: jpeg(ImageOps.mirror(crop(image, 0.08, 0.0, 0.92, 0.94))),
    "stamped": lambda image: jpeg(stamped(image)),
}


def twins_of(contents: list[bytes]) -> Twins:
    photos = [Photo(f"{n}.jpg", "a", str(hash(content)), len(content)) for n, content in enumerate(contents)]
    return near_duplicates(photos, np.concatenate([look(content) for content in contents])).at_least(SAME)


@pytest.mark.parametrize("kind", COPIES)
def test_copies_are_found_and_nothing_else(kind: str, drawn: Drawn) -> None:
    contents = [jpeg(image) for image in drawn] + [COPIES[kind](image) for image in drawn[:12]]
    found = {(first, second) for first, second, _ in twins_of(contents).pairs()}
    wanted = {(number, number + 32) for number in range(12)}
    assert found <= wanted
    assert len(found) >= (11 if kind == "stamped" else 12)


def test_an_upright_copy_of_a_photo_that_is_stored_turned_is_found(drawn: Drawn) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    content = io.BytesIO()
    drawn[0].transpose(Image.Transpose.ROTATE_90).save(content, "JPEG", quality=90, exif=exif)
    assert len(twins_of([jpeg(drawn[0]), jpeg(drawn[1]), content.getvalue()])) == 1


def test_the_same_photos_give_the_same_twins(drawn: Drawn) -> None:
    contents = [jpeg(image) for image in drawn] + [COPIES["cropped"](image) for image in drawn]
    first, second = twins_of(contents), twins_of(contents)
    assert list(first.pairs()) == list(second.pairs())


def test_copies_of_one_file_are_paired_with_the_first_and_joined(drawn: Drawn) -> None:
    one, other, again = jpeg(drawn[0]), jpeg(drawn[1]), jpeg(drawn[0], 50)
    twins = twins_of([other, one, one, again, one])
    assert twins.clusters == ((1, 2, 3, 4),)
    exact = [(first, second) for first, second, score in twins.pairs() if score == 1]
    assert exact == [(1, 2), (1, 4)]
    assert len(twins) == 3


def test_pairs_are_cut_by_likeness() -> None:
    twins = Twins(np.array([0, 1, 2]), np.array([3, 4, 5]), np.array([0.5, 0.7, 1], np.float32))
    assert [pair[:2] for pair in twins.at_least(0.7).pairs()] == [(1, 4), (2, 5)]


def test_clusters_join_along_chains() -> None:
    first, second = np.array([0, 2, 5, 7]), np.array([2, 9, 6, 9])
    assert Twins(first, second, np.ones(4, np.float32)).clusters == ((0, 2, 7, 9), (5, 6))


def test_photos_that_show_nothing_are_twins_of_nothing_but_their_own_bytes() -> None:
    flat = [jpeg(Image.new("RGB", (64, 64), (level, level, level))) for level in (0, 0, 90, 91, 255)]
    assert [(first, second) for first, second, _ in twins_of(flat).pairs()] == [(0, 1)]


@pytest.mark.parametrize("count", [0, 1])
def test_few_photos_have_no_twins(count: int, drawn: Drawn) -> None:
    photos = [Photo("0.jpg", "a", "0", 1)][:count]
    looks = look(jpeg(drawn[0]))[:count]
    assert len(near_duplicates(photos, looks)) == 0


def test_descriptions_do_not_see_light_and_contrast(drawn: Drawn) -> None:
    thumbs = np.concatenate([look(jpeg(image))["thumb"] for image in drawn[:4]]).astype(np.float64)
    dimmed = np.rint(thumbs * 0.5 + 40).astype(np.uint8)
    cosine = (describe(thumbs.astype(np.uint8)) * describe(dimmed)).sum(axis=1)
    assert cosine == pytest.approx(np.ones(4), abs=0.01)


def test_scan_gives_looks_in_the_order_of_its_photos(tmp_path: Path, drawn: Drawn) -> None:
    for number, image in enumerate(drawn[:6]):
        folder = tmp_path / "photos" / f"class {number % 2}"
        folder.mkdir(parents=True, exist_ok=True)
        image.resize((40 + number, 50)).save(folder / f"{number}.png")
    (tmp_path / "photos" / "class 0" / "3.jpg").write_bytes(b"no photo")
    for cache in (None, tmp_path / "cache", tmp_path / "cache"):
        found = scan(tmp_path / "photos", cache=cache)
        assert [40 + int(Path(photo.path).stem) for photo in found.photos] == found.looks["width"].tolist()
        assert set(found.looks["height"].tolist()) == {50}
