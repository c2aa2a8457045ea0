"""Files that break readers: each is listed with its reason, and nothing crashes, hangs or fills the memory."""

import io
import os
import resource
import struct
import subprocess
import sys
import time
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from featherlite.data.look import look
from featherlite.data.source import scan
from featherlite.errors import DataError
from featherlite.preprocess import PhotoError, Preprocess, decode

pytestmark = pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning", "ignore:.*:UserWarning:PIL")


def noise(width: int = 64, height: int = 48, seed: int = 0) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8))


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def claimed_png(width: int, height: int) -> bytes:
    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")
    )


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for number, name in enumerate(("robin", "wren")):
        (tmp_path / "photos" / name).mkdir(parents=True)
        (tmp_path / "photos" / name / "good.jpg").write_bytes(encoded(noise(seed=number), "JPEG"))
    return tmp_path / "photos"


BAD = {
    "zero.jpg": (b"", "empty"),
    "text.jpg": (b"This is not a photo at all.\n" * 40, "not-an-image"),
    "html.png": (b"<!doctype html><title>404</title>", "not-an-image"),
    "cut.jpg": (encoded(noise(), "JPEG")[:-400], "truncated"),
    "cut.png": (encoded(noise(), "PNG")[:-4000], "truncated"),
    "cut.webp": (encoded(noise(), "WEBP")[:-400], "damaged"),
    "cut.gif": (encoded(noise(), "GIF")[:-400], "truncated"),
    "cut.bmp": (encoded(noise(), "BMP")[:-400], "truncated"),
    "head only.jpg": (encoded(noise(), "JPEG")[:20], "not-an-image"),
    "bomb.png": (claimed_png(30_000, 30_000), "too-many-pixels"),
    "bomb2.png": (claimed_png(10_000, 10_000), "too-many-pixels"),
    "vector.jpg": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n", "not-an-image"),
    "wrong crc.png": (encoded(noise(), "PNG").replace(b"IHDR", b"IHDX"), "not-an-image"),
}


def test_every_bad_file_is_listed_with_its_reason_and_the_good_ones_are_used(root: Path) -> None:
    for name, (content, _) in BAD.items():
        (root / "wren" / name).write_bytes(content)
    found = scan(root)
    assert [photo.path for photo in found.photos] == ["robin/good.jpg", "wren/good.jpg"]
    told = {fault.path.removeprefix("wren/"): fault for fault in found.faults}
    loose = {"truncated", "damaged"}  # which of the two is Pillow's wording
    for name, (_, reason) in BAD.items():
        assert told[name].reason == reason or {told[name].reason, reason} <= loose, told[name]
        assert told[name].message
        assert " at 0x" not in told[name].message
    assert len(told) == len(BAD)


@pytest.mark.parametrize("name", sorted(BAD))
def test_decode_and_check_refuse_the_same_files(name: str) -> None:
    content = BAD[name][0]
    with pytest.raises(PhotoError) as of_decode:
        decode(content)
    with pytest.raises(PhotoError) as of_check:
        look(content)
    assert (of_decode.value.reason, of_decode.value.why) == (of_check.value.reason, of_check.value.why)
    assert of_decode.value.hint


def test_check_is_as_strict_as_decode_on_cut_and_flipped_photos() -> None:
    random = np.random.default_rng(1)
    whole = encoded(noise(120, 90), "JPEG", quality=80)

    def verdict(function: object, content: bytes) -> bool:
        try:
            function(content)  # type: ignore[operator]
        except PhotoError:
            return False
        return True

    refused = 0
    for _ in range(150):
        content = bytearray(whole[: random.integers(1, len(whole))] if random.random() < 0.5 else whole)
        for place in random.integers(0, len(content), random.integers(0, 10)):
            content[place] = random.integers(0, 256)
        assert verdict(decode, bytes(content)) == verdict(look, bytes(content))
        refused += not verdict(decode, bytes(content))
    assert refused > 50


def test_a_photo_of_30000_by_30000_is_refused_fast_and_without_memory(tmp_path: Path) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.perf_counter()
    for side in (30_000, 12_000, 9_500):
        with pytest.raises(PhotoError, match="too many pixels"):
            decode(claimed_png(side, side))
    assert time.perf_counter() - start < 0.5
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 20_000  # KiB


GOOD = {
    "cmyk.jpg": encoded(noise().convert("CMYK"), "JPEG"),
    "gray.jpg": encoded(noise().convert("L"), "JPEG"),
    "palette.png": encoded(noise().quantize(16), "PNG"),
    "palette transparent.png": encoded(noise().quantize(16), "PNG", transparency=3),
    "palette translucent.png": encoded(noise().quantize(4), "PNG", transparency=b"\x00\x40\x80\xff"),
    "rgba.png": encoded(noise().convert("RGBA"), "PNG"),
    "gray alpha.png": encoded(noise().convert("LA"), "PNG"),
    "one bit.png": encoded(noise().convert("1"), "PNG"),
    "sixteen bit.png": encoded(Image.fromarray(np.arange(64 * 48, dtype=np.uint16).reshape(48, 64) * 21), "PNG"),
    "float.tiff": encoded(Image.fromarray(np.linspace(0, 1, 64 * 48, dtype=np.float32).reshape(48, 64)), "TIFF"),
    "animated.gif": encoded(noise(), "GIF", save_all=True, append_images=[noise(seed=1), noise(seed=2)]),
    "animated.webp": encoded(noise(), "WEBP", save_all=True, append_images=[noise(seed=1)], lossless=True),
    "one pixel.png": encoded(noise(1, 1), "PNG"),
    "one pixel.jpg": encoded(noise(1, 1), "JPEG"),
    "ribbon.png": encoded(noise(3000, 1), "PNG"),
    "really a png.jpg": encoded(noise(), "PNG"),
    "bad exif.jpg": encoded(noise(), "JPEG", exif=b"Exif\0\0II*\0\xff\xff\xff\xff" + bytes(40)),
    "bad exif 2.jpg": encoded(noise(), "JPEG", exif=b"Exif\0\0MM\0*\0\0\0\x08\xff\xff" + b"\x01\x12\0\x02" * 9),
}


def test_the_multi_picture_jpeg_of_phones_is_a_photo() -> None:
    content = encoded(noise(), "MPO", save_all=True, append_images=[noise(seed=1)])
    assert Image.open(io.BytesIO(content)).format == "MPO"
    look(content)
    np.testing.assert_array_equal(np.asarray(decode(content)), np.asarray(decode(encoded(noise(), "JPEG"))))


def test_every_unusual_but_whole_photo_is_used(root: Path) -> None:
    for name, content in GOOD.items():
        (root / "robin" / name).write_bytes(content)
    found = scan(root)
    assert found.faults == ()
    assert len(found.photos) == len(GOOD) + 2


@pytest.mark.parametrize("fit", ["crop", "squash", "pad"])
@pytest.mark.parametrize("name", sorted(GOOD))
def test_every_unusual_photo_becomes_a_model_input(name: str, fit: str) -> None:
    pixels = Preprocess(width=40, height=32, fit=fit)(GOOD[name])  # type: ignore[arg-type]
    assert (pixels.shape, pixels.dtype) == ((32, 40, 3), np.uint8)


def test_unusual_photos_keep_their_colors() -> None:
    red = Image.new("RGB", (8, 8), (200, 30, 40))
    assert np.ptp(np.asarray(decode(encoded(red.quantize(2), "PNG"))) - np.array([200, 30, 40])) == 0
    cmyk = np.asarray(decode(encoded(red.convert("CMYK"), "JPEG", quality=100, subsampling=0)), np.int64)
    assert np.abs(cmyk - [200, 30, 40]).max() <= 4
    deep = np.array([[0, 257, 32896, 65535]], np.uint16)
    assert np.asarray(decode(encoded(Image.fromarray(deep), "PNG")))[0, :, 0].tolist() == [0, 1, 128, 255]
    first = noise()
    frames = encoded(first, "WEBP", save_all=True, append_images=[noise(seed=1)], lossless=True)
    np.testing.assert_array_equal(np.asarray(decode(frames)), np.asarray(first))


def test_what_is_transparent_lies_over_mid_gray() -> None:
    clear = Image.new("RGBA", (4, 4), (255, 0, 0, 0))
    half = Image.new("RGBA", (4, 4), (255, 0, 0, 128))
    assert np.unique(np.asarray(decode(encoded(clear, "PNG")))).tolist() == [128]
    assert np.abs(np.asarray(decode(encoded(half, "PNG")), int)[0, 0] - [192, 64, 64]).max() <= 1
    keyed = Image.new("RGB", (4, 4), (1, 2, 3))
    assert np.unique(np.asarray(decode(encoded(keyed, "PNG", transparency=(1, 2, 3))))).tolist() == [128]


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_photo_turned_by_exif_is_decoded_upright(orientation: int) -> None:
    upright = noise(24, 16)
    undo = {
        2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180, 4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE, 6: Image.Transpose.ROTATE_90, 7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }  # fmt: skip
    stored = upright.transpose(undo[orientation]) if orientation > 1 else upright
    exif = Image.Exif()
    exif[0x0112] = orientation
    np.testing.assert_array_equal(np.asarray(decode(encoded(stored, "PNG", exif=exif))), np.asarray(upright))


# ---- links and other things that are not files -------------------------------------------------------------------


def test_links_out_of_the_folder_and_in_circles_are_listed_and_not_followed(root: Path, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.mkdir()
    (secret / "x.jpg").write_bytes(encoded(noise(seed=9), "JPEG"))
    wren = root / "wren"
    (wren / "out.jpg").symlink_to(secret / "x.jpg")
    (wren / "out").symlink_to(secret)
    (root / "class out").symlink_to(secret)
    (wren / "up").symlink_to("..")
    (wren / "self").symlink_to("self")
    (wren / "ping").symlink_to("pong")
    (wren / "pong").symlink_to("ping")
    (wren / "gone.jpg").symlink_to("nowhere.jpg")
    (wren / "beside").symlink_to("../robin")
    (wren / "sly.jpg").symlink_to(f"../../photos/../{secret.name}/x.jpg")
    found = scan(root)
    assert [photo.path for photo in found.photos] == ["robin/good.jpg", "wren/good.jpg"]
    assert {fault.path: fault.reason for fault in found.faults} == {
        "class out": "link-outside",
        "wren/beside": "link-repeated",
        "wren/gone.jpg": "link-broken",
        "wren/out": "link-outside",
        "wren/out.jpg": "link-outside",
        "wren/ping": "link-circle",
        "wren/pong": "link-circle",
        "wren/self": "link-circle",
        "wren/sly.jpg": "link-outside",
        "wren/up": "link-circle",
    }


def test_links_that_stay_inside_are_followed_once(root: Path) -> None:
    (root / "wren" / "again.jpg").symlink_to("good.jpg")
    (root / ".store" / "owl").mkdir(parents=True)
    (root / ".store" / "owl" / "1.jpg").write_bytes(encoded(noise(seed=5), "JPEG"))
    (root / ".store" / "owl" / "back").symlink_to("../../.store")
    (root / "owl").symlink_to(".store/owl")
    paths = [photo.path for photo in scan(root).photos]
    assert paths == ["owl/1.jpg", "robin/good.jpg", "wren/again.jpg", "wren/good.jpg"]


def test_a_flood_of_links_between_folders_ends(root: Path) -> None:
    folders = [root / "wren" / f"d{number}" for number in range(25)]
    for folder in folders:
        folder.mkdir()
        for other in folders:
            (folder / f"to {other.name}").symlink_to(other)
    start = time.perf_counter()
    found = scan(root)
    assert time.perf_counter() - start < 5
    assert len(found.faults) == 25 * 25


def test_pipes_are_listed_and_not_waited_for(root: Path) -> None:
    os.mkfifo(root / "wren" / "pipe.jpg")
    (root / "wren" / "to pipe.jpg").symlink_to("pipe.jpg")
    assert {fault.path: fault.reason for fault in scan(root).faults} == {
        "wren/pipe.jpg": "not-a-file",
        "wren/to pipe.jpg": "not-a-file",
    }


def test_a_file_at_the_root_is_listed(root: Path) -> None:
    (root / "birds.csv").write_text("file,species\n")
    (root / "readme.jpg").symlink_to("birds.csv")
    assert {fault.path: fault.reason for fault in scan(root).faults} == {
        "birds.csv": "not-in-class",
        "readme.jpg": "not-in-class",
    }


def test_when_no_photo_is_readable_the_refusal_names_examples(tmp_path: Path) -> None:
    for name in ("robin", "wren"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "text.jpg").write_text("no photo")
    with pytest.raises(DataError, match=r"no photo in it can be used.*robin/text.jpg: not an image"):
        scan(tmp_path)


def test_a_very_deep_folder_is_read(root: Path) -> None:
    deep = root / "wren" / "/".join(["d"] * 900)
    deep.mkdir(parents=True)
    (deep / "x.jpg").write_bytes(encoded(noise(seed=3), "JPEG"))
    assert len(scan(root).photos) == 3


def test_ctrl_c_ends_a_scan_at_once(root: Path) -> None:
    (root / "wren" / "big.png").write_bytes(encoded(noise(900, 700), "PNG", compress_level=1))
    for number in range(900):
        os.link(root / "wren" / "big.png", root / "wren" / f"{number}.png")
    # Python drops an interrupt that falls into a destructor, and goes on: it is pressed a second time, as a user would.
    program = (
        "import sys, signal, threading, time, os\nfrom pathlib import Path\nfrom featherlite.data.source import scan\n"
        # What a shell starts in the background ignores interrupts.
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "def press():\n"
        "    for pause in (0.3, 1.0):\n        time.sleep(pause)\n        os.kill(os.getpid(), signal.SIGINT)\n"
        "threading.Thread(target=press, daemon=True).start()\n"
        "start = time.perf_counter()\n"
        "try:\n    scan(Path(sys.argv[1]))\n"
        "except KeyboardInterrupt:\n    print(time.perf_counter() - start, flush=True)\n    os._exit(0)\n"
    )
    done = subprocess.run([sys.executable, "-c", program, str(root)], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stdout, f"the scan went on to its end: {done.stderr}"
    assert float(done.stdout) < 3
