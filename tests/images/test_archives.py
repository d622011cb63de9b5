"""Archives: complete or refused, another one of the same name is another, and a file is known by its bytes and its folders."""

import bz2
import gzip
import io
import lzma
import os
import random
import subprocess
import sys
import tarfile
import threading
from contextlib import suppress

import pytest
import sets
from fuzzing import mutated

from afa_bench.checkpoints import hashing
from afa_bench.errors import UserError
from afa_bench.images.archives import in_tar, read_tar
from afa_bench.images.stored import identity, read

PACKED = {"tar": bytes, "tgz": gzip.compress, "bz2": bz2.compress, "xz": lzma.compress}
FILES = {
    **{f"a/{n}.png": sets.picture(n) for n in range(3)},
    **{f"b/{n}.png": sets.picture(9 + n) for n in range(3)},
    "b/0.txt": b"x",
}


def tarred(files, kind=tarfile.PAX_FORMAT):
    with tarfile.open(fileobj=(buffer := io.BytesIO()), mode="w", format=kind) as archive:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return buffer.getvalue()


def read_all(path):
    tar = read_tar(path)
    return {name: tar.read(name) for name in tar.files}


@pytest.mark.parametrize("packed", PACKED)
@pytest.mark.parametrize("kind", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT, tarfile.USTAR_FORMAT])
def test_every_file_is_read_under_its_folders(tmp_path, packed, kind):
    long = f"{'deep/' * 20}{'x' * 60}.png" if kind == tarfile.USTAR_FORMAT else f"{'deep/' * 60}{'狗' * 50}.png"
    files = {**FILES, long: sets.picture(7)}
    path = tmp_path / f"x.{packed}"
    path.write_bytes(PACKED[packed](tarred({f"./{name}": data for name, data in files.items()}, kind)))
    assert read_all(path) == files
    tar = read_tar(path)
    assert {name: read(tar.image(name)) for name in tar.images} == {n: d for n, d in files.items() if n.endswith("png")}
    assert identity(tar.image("a/0.png")) == identity(files["a/0.png"]), "as the same bytes elsewhere"


@pytest.mark.parametrize("packed", PACKED)
def test_a_part_of_an_archive_is_refused_wherever_it_was_cut(tmp_path, packed):
    whole = tarred(FILES)
    end = len(whole.rstrip(b"\0")) + 512 & ~511  # the last file's last block
    path = tmp_path / "x.tar"
    data = PACKED[packed](whole)
    cuts = [*range(0, end + 1, 512), *range(100, end, 700)] if packed == "tar" else range(0, len(data) - 12, len(data) // 40)
    for cut in cuts:
        path.write_bytes(data[:cut])
        with pytest.raises(UserError) as caught:
            read_tar(path)
        assert str(caught.value).startswith(f"{path}: ")
        assert "\n" not in str(caught.value)
    if packed == "tar":
        path.write_bytes(whole[: end + 512])
        assert read_all(path) == FILES, "one block of zeros is an end"
    assert {file.name for file in tmp_path.iterdir()} == {"x.tar"}, "nothing of it is left"


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (tarred(FILES) + tarred({"c.png": sets.picture(1)}), "goes on after its end"),
        (tarred(FILES)[:-10240] + b"\xff" * 1024, "damaged: after|goes on after|expected a whole"),
        (tarred(FILES)[:512] + bytes(512) + tarred(FILES)[1024:], ""),
        (b"", "empty file"),
        (b"not an archive" * 99, "expected a whole tar archive"),
        (b"\x28\xb5\x2f\xfd" + bytes(2000), "expected a whole tar archive"),
        (sets.zipped({"a.png": b"x"}), "expected a whole tar archive"),
        (tarred({"a.png": b"1"})[:-9216] + tarred({"a.png": b"2"}), "a.png: is in it twice|goes on"),
        (tarred({"caf\udce9.png": b"1"}, tarfile.GNU_FORMAT), "a name that is not UTF-8"),
    ],
)  # fmt: skip
def test_what_is_no_whole_archive_is_refused(tmp_path, data, message):
    (tmp_path / "x.tar").write_bytes(data)
    if not message:  # the bytes of a file may be anything
        assert read_all(tmp_path / "x.tar").keys() == FILES.keys()
        return
    with pytest.raises(UserError, match=message):
        read_tar(tmp_path / "x.tar")


def test_a_changed_header_is_never_the_end(tmp_path):
    """Python's reader ends without a word at a header that it cannot read."""
    whole, chance, path = tarred(FILES, tarfile.USTAR_FORMAT), random.Random(0), tmp_path / "x.tar"
    with tarfile.open(fileobj=io.BytesIO(whole)) as archive:
        headers = [member.offset for member in archive]
    for _ in range(60):
        data = bytearray(whole)
        data[chance.choice(headers) + chance.randrange(345)] ^= 1 << chance.randrange(8)
        path.write_bytes(data)
        with suppress(UserError):  # the checksum's own last byte changes nothing
            assert read_all(path) == FILES
    for _ in range(60):
        path.write_bytes(mutated(whole, chance))
        with suppress(UserError):
            assert len(read_tar(path).files) == len(FILES)


def test_links_and_hidden_files_are_left_out_and_told(tmp_path):
    with tarfile.open(tmp_path / "x.tar", "w") as archive:
        for name, kind in (("a.png", tarfile.SYMTYPE), ("b.png", tarfile.LNKTYPE), ("c.png", tarfile.FIFOTYPE)):
            member = tarfile.TarInfo(name)
            member.type, member.linkname = kind, "/etc/passwd"
            archive.addfile(member)
        for name in ("._d.png", "__MACOSX/._d.png", "../../d.png"):
            archive.addfile(tarfile.TarInfo(name))
    tar = read_tar(tmp_path / "x.tar")
    assert list(tar.files) == ["../../d.png"], "a name is no path"
    assert tar.left == {
        "links and other members that are no files": ["a.png", "b.png", "c.png"],
        "hidden": ["._d.png", "__MACOSX/._d.png"],
    }


@pytest.mark.parametrize("packed", PACKED)
def test_another_archive_of_the_same_name_is_another(tmp_path, packed):
    path = tmp_path / "x.tar"
    first, second = ({"0.png": sets.picture(seed, "BMP")} for seed in (1, 2))  # of equal sizes
    seen = []
    for number, files in enumerate((first, second, first)):
        path.write_bytes(PACKED[packed](tarred(files)))
        os.utime(path, ns=(number, number))
        assert read_all(path) == files
        seen.append(read_tar(path).image("0.png"))
    assert seen[0].identity == seen[2].identity != seen[1].identity
    path.write_bytes(PACKED[packed](tarred(second)))
    if packed == "tar":
        with pytest.raises(UserError, match=r"x\.tar: 0\.png: cannot be read: was changed meanwhile"):
            seen[0].read()
    else:
        assert seen[0].read() == first["0.png"], "what was unpacked is kept"


@pytest.mark.parametrize("packed", ["tar", "tgz"])
def test_what_is_in_a_large_archive_is_remembered(tmp_path, packed, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(hashing, "LARGE", 0)
    place = tmp_path / "set"
    place.mkdir()
    scanned: list[int] = []
    original, data = tarfile.open, PACKED[packed](tarred(FILES))
    monkeypatch.setattr(tarfile, "open", lambda *args, **named: scanned.append(1) or original(*args, **named))
    for number in range(3):
        path = place / f"{number}.tar"
        path.write_bytes(data)
        assert read_all(path) == FILES
    assert len(scanned) == 1
    (note,) = (tmp_path / "cache" / "afa-bench" / "archives").iterdir()
    for damage in (b"", b"[]", b"[1]", b"{}", note.read_bytes()[:-9], b'[0, {"a": 1}, {}]'):
        note.write_bytes(damage)
        path = path.rename(place / f"{path.stem}0.tar")
        assert read_all(path) == FILES


def test_processes_that_unpack_at_once_unpack_once(tmp_path):
    path = tmp_path / "x.tgz"
    path.write_bytes(gzip.compress(tarred({f"{n}.bmp": os.urandom(2**16) for n in range(100)}), 1))
    code = "import sys, pathlib, afa_bench.images.archives as a; print(len(a.read_tar(pathlib.Path(sys.argv[1])).files))"
    jobs = [subprocess.Popen([sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE, text=True) for _ in range(2)]
    assert [job.communicate(timeout=60)[0].strip() for job in jobs] == ["100"] * 2
    assert sorted(file.suffix for file in tmp_path.iterdir()) == [".tgz", ".unpacked"]


def test_threads_that_unpack_at_once_do_not_fail(tmp_path):
    path, found = tmp_path / "x.tgz", []
    path.write_bytes(gzip.compress(tarred(FILES)))
    threads = [threading.Thread(target=lambda: found.append(read_all(path))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [FILES] * 4


def test_bare_names_are_there_once(tmp_path):
    (tmp_path / "x.tar").write_bytes(tarred(FILES))
    with pytest.raises(UserError, match=r"a/0\.png and b/0\.png: expected one image of a name"):
        in_tar(tmp_path / "x.tar")
