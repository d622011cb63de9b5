"""One walk: what counts as an image, for whatever reads a folder of them."""

import os
import sys

import pytest
import sets

from afa_bench.errors import UserError
from afa_bench.images.archives import in_tar, in_zip
from afa_bench.images.find import find_images
from afa_bench.images.names import SUFFIXES


def touch(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"x")


def test_images_of_every_suffix_are_found_below_and_hidden_ones_are_told(tmp_path):
    names = [f"{i}{suffix.upper() if i % 2 else suffix}" for i, suffix in enumerate(SUFFIXES)]
    touch(tmp_path, *names, "below/deep/a.png")
    touch(
        tmp_path,
        ".a.png",
        "._0.png",
        ".ipynb_checkpoints/a.png",
        "below/.thumbnails/b.png",
        "c.gif",
        "d.GIF",
        "notes.txt",
        "README",
    )
    found = find_images(tmp_path)
    assert found.files == [*names, "below/deep/a.png"]
    assert found.skipped == {
        ".gif": ["c.gif", "d.GIF"],
        "hidden": ["._0.png", ".a.png", ".ipynb_checkpoints", "below/.thumbnails"],
        "without suffix": ["README"],
    }
    (note,) = found.notes
    assert note.startswith(f"{tmp_path}: not read: 2 .gif (c.gif, d.GIF), 4 hidden (._0.png, .a.png, .ipynb_checkpoints, ...)")
    assert find_images(tmp_path / "below" / "deep").notes == []


def test_linked_folders_are_followed_and_no_loop_is_endless(tmp_path):
    touch(tmp_path, "elsewhere/a.png", "images/b.png")
    (tmp_path / "images" / "linked").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "images" / "loop").symlink_to(tmp_path / "images")
    (tmp_path / "elsewhere" / "back").symlink_to(tmp_path / "images")
    (tmp_path / "images" / "c.png").symlink_to(tmp_path / "elsewhere" / "a.png")
    (tmp_path / "images" / "gone.png").symlink_to(tmp_path / "nowhere")
    (tmp_path / "images" / "self.png").symlink_to(tmp_path / "images" / "self.png")
    found = find_images(tmp_path / "images")
    assert found.files == ["b.png", "c.png", "gone.png", "linked/a.png", "self.png"]  # whoever reads a link to nowhere names it
    assert found.skipped == {"links into themselves": ["linked/back", "loop"]}


def test_what_would_never_end_to_be_read_is_no_image(tmp_path):
    os.mkfifo(tmp_path / "a.png")
    (tmp_path / "folder.png").mkdir()
    touch(tmp_path, "folder.png/b.png")
    found = find_images(tmp_path)
    assert found.files == ["folder.png/b.png"]
    assert found.skipped == {"no files": ["a.png"]}


@pytest.mark.skipif(sys.platform != "linux", reason="names are bytes there")
def test_a_name_that_is_not_utf_8_is_refused(tmp_path):
    os.makedirs(os.fsencode(tmp_path) + b"/sub")
    with open(os.fsencode(tmp_path) + b"/sub/caf\xe9.png", "wb"):
        pass
    with pytest.raises(UserError, match=r"sub: b'caf\\xe9\.png': a name that is not UTF-8"):
        find_images(tmp_path)


def test_a_folder_that_is_not_there_is_named(tmp_path):
    with pytest.raises(UserError, match="--reference: no such folder"):
        find_images(tmp_path / "none", "--reference")


def test_archives_hold_an_image_of_a_name_once_and_no_hidden_one(tmp_path):
    files = {"a/0.png": b"1", "a/._0.png": b"2", "__MACOSX/._0.png": b"3", ".git/1.png": b"4", "./b/2.TIFF": b"5", "c.gif": b"6"}
    (tmp_path / "x.zip").write_bytes(sets.zipped(files))
    (tmp_path / "x.tar").write_bytes(sets.tarred(files))
    assert set(in_zip(tmp_path / "x.zip")) == set(in_tar(tmp_path / "x.tar")) == {"0.png", "2.TIFF"}
    twice = {"a/0.png": b"1", "b/0.png": b"2"}
    (tmp_path / "y.zip").write_bytes(sets.zipped(twice))
    (tmp_path / "y.tar").write_bytes(sets.tarred(twice))
    for read in (lambda: in_zip(tmp_path / "y.zip"), lambda: in_tar(tmp_path / "y.tar")):
        with pytest.raises(UserError, match=r"b/0\.png: expected one image of a name|a/0\.png and b/0\.png: expected one image"):
            read()
    assert not list(tmp_path.glob("*y.tar*/*"))
