"""One decoder: what an image's pixels mean, how it is seen, and what is no image."""

import io
import random
import struct
import zlib

import numpy as np
import pytest
from PIL import Image, ImageCms, ImageOps

from afa_bench.errors import UserError
from afa_bench.extractors.pixels import LongSide, ShortSide
from afa_bench.images import png
from afa_bench.images.decode import MOST_STRETCHED, decode, traits
from afa_bench.images.modes import COMMON
from afa_bench.images.square import centre, cut, scaled
from afa_bench.images.stored import is_plain


def encoded(image, kind="PNG", **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def picture(seed=0, size=(24, 16)):
    """Smooth colours: what JPEG and the like keep."""
    rng = np.random.default_rng(seed)
    small = Image.fromarray(rng.integers(0, 256, (3, 4, 3), dtype=np.uint8))
    return small.resize(size, Image.Resampling.BICUBIC)


def exif(orientation):
    found = Image.Exif()
    found[0x0112] = orientation
    return found


def pixels(image):
    return np.asarray(image, dtype=int)


GREY = (np.arange(256, dtype=np.uint16) * 257).reshape(16, 16)


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "PPM"])
@pytest.mark.parametrize("as_seen", [False, True])
def test_sixteen_bit_grey_is_scaled_by_its_range(kind, as_seen):
    image = decode(encoded(Image.fromarray(GREY), kind), "x", as_seen)
    assert image.mode == ("RGB" if as_seen else "L")
    assert np.array_equal(pixels(image.convert("L")), GREY >> 8)


def test_sixteen_bit_tiff_in_which_0_is_white_is_turned_round():
    data = bytearray(encoded(Image.fromarray(GREY), "TIFF"))
    place = data.index(struct.pack("<HHII", 262, 3, 1, 1))
    data[place : place + 12] = struct.pack("<HHII", 262, 3, 1, 0)
    assert np.array_equal(pixels(decode(bytes(data), "x")), 255 - (GREY >> 8))


@pytest.mark.parametrize("kind", [np.float32, np.int32])
def test_numbers_without_a_range_are_refused(kind):
    data = encoded(Image.fromarray(np.linspace(0, 1, 64).reshape(8, 8).astype(kind)), "TIFF")
    with pytest.raises(UserError, match=r"^x: .*says no range: expected 8 or 16 bits"):
        decode(data, "x")


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr", "LAB", "I;16"])
def test_every_mode_becomes_one_that_each_preprocessing_takes(mode):
    image = decode(encoded(picture().convert(mode), "TIFF"), "x")
    assert image.mode in COMMON
    for fit in (ShortSide(8), ShortSide(8, hub=True), LongSide(8)):
        assert fit.exact(image).shape == (8, 8, 3)
    assert decode(encoded(picture().convert(mode), "TIFF"), "x", as_seen=True).mode == "RGB"


def text_chunk(size, kind=b"zTXt"):
    text = b"workflow\0" + (b"\0" + zlib.compress(b"x" * size) if kind == b"zTXt" else b"x" * size)
    return struct.pack(">I", len(text)) + kind + text + struct.pack(">I", zlib.crc32(kind + text))


@pytest.mark.parametrize("kind", [b"zTXt", b"tEXt"])
def test_texts_of_any_size_do_not_keep_a_png_from_being_read(kind):
    data = encoded(picture())
    data = data[:33] + text_chunk(3_000_000, kind) + data[33:]
    assert np.array_equal(pixels(decode(data, "x")), pixels(picture()))
    assert len(png.texts(data)["workflow"]) == 3_000_000


def test_a_text_that_unfolds_without_end_is_refused_where_it_is_asked_for(monkeypatch):
    monkeypatch.setattr(png, "LARGEST", 1_000_000)
    data = encoded(picture())
    data = data[:33] + text_chunk(3_000_000) + data[33:]
    assert decode(data, "x").size == (24, 16)
    with pytest.raises(ValueError, match="more than"):
        png.texts(data)


def test_a_changed_byte_of_a_png_s_pixels_is_seen():
    data = bytearray(encoded(picture()))
    place = data.index(b"IDAT") + 20
    data[place] ^= 1
    with pytest.raises(UserError, match="x: not an image, or a damaged one: the checksum of its chunk IDAT is wrong"):
        decode(bytes(data), "x")
    with pytest.raises(UserError, match="it is cut off"):
        decode(encoded(picture())[:-12], "x")


def test_a_line_of_pixels_is_refused_before_a_network_makes_billions_of_it():
    assert decode(encoded(Image.new("RGB", (1, MOST_STRETCHED))), "x").size == (1, MOST_STRETCHED)
    with pytest.raises(UserError, match=r"^x: too narrow: expected sides of at most 200 to 1: 1 x 40000$"):
        decode(encoded(Image.new("RGB", (1, 40_000))), "x")


def test_programs_are_not_run_whatever_a_file_is_called():
    data = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\nshowpage\n"
    with pytest.raises(UserError, match="not an image, or a damaged one"):
        decode(data, "picture.png")


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_one_picture_in_eight_orientations_is_seen_as_one(kind, orientation):
    upright = picture()
    back = {5: 5, 6: 8, 7: 7, 8: 6}.get(orientation, orientation)
    image = ImageOps.exif_transpose(_with(upright, exif(back)))
    data = encoded(image, kind, exif=exif(orientation), **({} if kind in ("PNG", "TIFF") else {"quality": 95}))
    seen = decode(data, "x", as_seen=True)
    assert seen.size == upright.size
    assert np.abs(pixels(seen) - pixels(upright)).mean() < 6
    if kind != "TIFF":  # which Pillow turns itself
        assert decode(data, "x").size == image.size
        assert traits(data) == ([] if orientation == 1 else ["turned"])


def _with(image, found):
    copy = image.copy()
    copy.info["exif"] = found.tobytes()
    return copy


def test_images_that_look_alike_are_seen_alike_whatever_is_hidden_under_their_alpha():
    alpha = Image.new("L", (24, 16), 255)
    alpha.paste(0, (0, 0, 12, 16))
    expected = picture()
    expected.paste((255, 255, 255), (0, 0, 12, 16))
    for hidden in ((0, 0, 0), (255, 0, 0), (9, 200, 9)):
        image = picture().convert("RGB")
        image.paste(hidden, (0, 0, 12, 16))
        image.putalpha(alpha)
        assert np.array_equal(pixels(decode(encoded(image), "x", as_seen=True)), pixels(expected))
        assert traits(encoded(image)) == ["transparent"]
        assert decode(encoded(image), "x").mode == "RGBA"  # as the official loops have it
    keyed = Image.new("RGB", (8, 8), (1, 2, 3))
    assert pixels(decode(encoded(keyed, transparency=(1, 2, 3)), "x", as_seen=True)).min() == 255
    palette = Image.new("P", (8, 8), 3)
    palette.putpalette([7] * 768)
    assert pixels(decode(encoded(palette, transparency=3), "x", as_seen=True)).min() == 255
    grey = Image.fromarray(np.full((8, 8), 40_000, np.uint16))
    assert pixels(decode(encoded(grey, transparency=40_000), "x", as_seen=True)).min() == 255


def test_alpha_that_hides_nothing_is_no_matter():
    assert traits(encoded(picture().convert("RGBA"))) == []
    assert is_plain(encoded(picture(size=(16, 16)).convert("RGBA")))


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "GIF"])
def test_an_animation_is_told_and_its_first_frame_taken(kind):
    frames = [Image.new("RGB", (16, 16), colour) for colour in ("red", "blue")]
    data = encoded(frames[0], kind, save_all=True, append_images=frames[1:])
    assert traits(data) == ["animated"]
    for as_seen in (False, True):
        assert pixels(decode(data, "x", as_seen).convert("RGB"))[0, 0].argmax() == 0


def test_the_image_that_stands_in_for_an_animation_is_not_what_is_seen():
    frames = [Image.new("RGB", (16, 16), colour) for colour in ("red", "green", "blue")]
    data = encoded(frames[0], save_all=True, append_images=frames[1:], default_image=True)
    assert pixels(decode(data, "x"))[0, 0].argmax() == 0
    assert pixels(decode(data, "x", as_seen=True))[0, 0].argmax() == 1


def test_colours_are_those_of_the_profile():
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    plain = encoded(picture(), icc_profile=srgb)
    assert traits(plain) == []
    assert np.array_equal(pixels(decode(plain, "x", as_seen=True)), pixels(picture()))
    other = encoded(picture(), icc_profile=swapped(srgb))
    assert traits(other) == ["coloured"]
    assert np.array_equal(pixels(decode(other, "x")), pixels(picture()))
    seen = pixels(decode(other, "x", as_seen=True))
    assert np.abs(seen - pixels(picture())[..., [2, 1, 0]]).max() <= 3
    for damaged in (b"nonsense", srgb[:200]):
        assert traits(encoded(picture(), icc_profile=damaged)) == []  # shown as it is, as viewers do


def swapped(profile):
    """sRGB with red and blue exchanged."""
    return profile.replace(b"rXYZ", b"tmp ", 1).replace(b"bXYZ", b"rXYZ", 1).replace(b"tmp ", b"bXYZ", 1)


def test_a_large_profile_is_no_damage():
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    padded = struct.pack(">I", len(srgb) + 2_000_000) + swapped(srgb)[4:] + bytes(2_000_000)
    assert traits(encoded(picture(), icc_profile=padded)) == ["coloured"]
    assert decode(encoded(picture(), icc_profile=padded), "x").size == (24, 16)


def test_a_square_is_cut_not_squashed():
    image = picture(size=(40, 20))
    assert scaled(image, 10).size == (20, 10)
    assert np.array_equal(pixels(cut(image, 20, centre(image, 20))), pixels(image)[:, 10:30])
    assert scaled(picture(size=(16, 16)), 16).size == (16, 16)
    with pytest.raises(UserError, match="too narrow"):
        scaled(Image.new("RGB", (1, 40_000)), 512)


def test_what_is_not_plain_is_known_by_its_header():
    assert is_plain(encoded(picture()))
    assert not is_plain(encoded(picture()), square=True)
    assert is_plain(encoded(picture(size=(16, 16))), square=True)
    assert is_plain(b"no image at all")  # whoever decodes it says so
    seen_through = picture()
    seen_through.putalpha(9)
    odd = [encoded(Image.fromarray(GREY)), encoded(seen_through), encoded(picture(), "JPEG", exif=exif(3))]
    assert not any(map(is_plain, odd))


@pytest.mark.filterwarnings("ignore")
def test_damaged_images_of_every_kind_are_one_line():
    chance = random.Random(0)
    image = picture(size=(16, 16))
    plain = [encoded(image, kind) for kind in ("PNG", "JPEG", "WEBP", "AVIF", "BMP", "TIFF", "PPM", "GIF")]
    plain += [encoded(image, kind, exif=exif(6)) for kind in ("PNG", "JPEG", "WEBP", "AVIF")]
    plain += [encoded(image.convert(mode), "TIFF") for mode in ("LA", "PA", "LAB", "CMYK", "I;16")]
    refused: list[str] = []
    for trial in range(500):
        data = bytearray(plain[trial % len(plain)])
        for _ in range(chance.choice([1, 2, 8])):
            place = chance.randrange(len(data))
            data[place : place + chance.randrange(3)] = chance.randbytes(chance.randrange(1, 4))
        for as_seen in (False, True):
            try:
                found = decode(bytes(data), "x", as_seen)
                assert found.mode in COMMON
                assert found.convert("RGB").resize((5, 5)).mode == "RGB"
            except UserError as error:
                refused.append(str(error))
        traits(bytes(data))
    assert len(refused) > 150
    assert not [error for error in refused if "\n" in error or not error.startswith("x: ")]
