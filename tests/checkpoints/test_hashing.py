"""Hashes of large files are remembered between processes, and never for other bytes."""

import hashlib
import os

from afa_bench.checkpoints import hashing


def test_a_large_files_hash_is_remembered_until_it_changes(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(hashing, "LARGE", 1000)
    path = tmp_path / "weights.pt"
    path.write_bytes(b"a" * 2000)
    expected = hashlib.sha256(b"a" * 2000).hexdigest()
    assert hashing.hash_file(path) == expected
    (note,) = (tmp_path / "cache" / "afa-bench" / "hashes").iterdir()
    hashing._hash.cache_clear()  # a later process
    monkeypatch.setattr(hashlib, "file_digest", None)  # does not read the file
    assert hashing.hash_file(path) == expected
    monkeypatch.undo()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(hashing, "LARGE", 1000)
    times = path.stat()
    path.write_bytes(b"a" * 1999 + b"b")  # one byte
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns + 1))
    assert hashing.hash_file(path) == hashlib.sha256(b"a" * 1999 + b"b").hexdigest()
    note.write_text("damaged")
    hashing._hash.cache_clear()
    assert hashing.hash_file(path) == hashlib.sha256(b"a" * 1999 + b"b").hexdigest()
