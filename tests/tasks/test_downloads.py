import hashlib
from pathlib import Path

import pytest

from tasks import DataMissing, TaskError, downloads
from tasks.downloads import Remote, checked, data_root, fetch, found

BODY = bytes(range(256)) * 5000


def remote(server, name="file.bin", digest=None, algorithm="md5"):
    digest = hashlib.new(algorithm, BODY).hexdigest() if digest is None else digest
    return Remote(server.url + name, len(BODY), digest, algorithm)


@pytest.fixture
def target(tmp_path):
    return tmp_path / "data" / "deep" / "file.bin"


def left_over(target):
    return sorted(target.parent.glob("*")) if target.parent.exists() else []


def test_a_file_is_downloaded_checked_and_announced_in_one_line(server, target):
    server.files["/file.bin"] = BODY
    said = []
    assert fetch(remote(server), target, said.append) == target
    assert target.read_bytes() == BODY
    assert left_over(target) == [target]
    assert said == [f"downloading {server.url}file.bin (1.3 MB) to {target.parent}"]


def test_without_a_listener_the_line_goes_to_standard_error(server, target, capsys):
    server.files["/file.bin"] = BODY
    fetch(remote(server), target)
    assert capsys.readouterr() == ("", f"downloading {server.url}file.bin (1.3 MB) to {target.parent}\n")


def test_the_beginning_of_a_sha256_is_enough(server, target):
    server.files["/file.bin"] = BODY
    digest = hashlib.sha256(BODY).hexdigest()[:8]
    assert fetch(remote(server, digest=digest, algorithm="sha256"), target).read_bytes() == BODY


def test_another_content_than_published_leaves_nothing(server, target):
    server.files["/file.bin"] = BODY[:-1] + b"\0"
    with pytest.raises(DataMissing, match=r"file\.bin is not under .*deep and cannot be downloaded"):
        fetch(remote(server), target, lambda line: None)
    assert left_over(target) == []


def test_a_transfer_that_ends_early_leaves_nothing(server, target):
    server.files["/file.bin"], server.promised = BODY[:1000], len(BODY)
    with pytest.raises(DataMissing):
        fetch(remote(server), target, lambda line: None)
    assert left_over(target) == []


def test_a_file_that_is_not_there_is_missing_data(server, target):
    said = []
    with pytest.raises(DataMissing, match="404"):
        fetch(remote(server, "other.bin"), target, said.append)
    assert left_over(target) == []
    assert said == []


def test_no_network_is_missing_data(closed_url, target):
    with pytest.raises(DataMissing, match="cannot be downloaded") as caught:
        fetch(Remote(closed_url + "x", 1, "00"), target)
    assert "\n" not in str(caught.value)
    assert left_over(target) == []


def test_a_folder_that_cannot_be_made_is_missing_data(server, tmp_path):
    server.files["/file.bin"] = BODY
    (tmp_path / "data").write_text("a file where the folder should be")
    with pytest.raises(DataMissing):
        fetch(remote(server), tmp_path / "data" / "file.bin", lambda line: None)


def test_an_interrupted_download_leaves_nothing(server, target, monkeypatch):
    def interrupt(*arguments):
        assert left_over(target) != []
        raise KeyboardInterrupt

    server.files["/file.bin"] = BODY
    monkeypatch.setattr(downloads, "checked", interrupt)
    with pytest.raises(KeyboardInterrupt):
        fetch(remote(server), target, lambda line: None)
    assert left_over(target) == []


def test_what_is_there_is_checked_and_not_downloaded(closed_url, target):
    target.parent.mkdir(parents=True)
    target.write_bytes(BODY)
    assert found(Remote(closed_url, len(BODY), hashlib.md5(BODY).hexdigest()), target) == target


def test_what_is_there_and_damaged_is_named_and_kept(server, target):
    server.files["/file.bin"] = BODY
    target.parent.mkdir(parents=True)
    target.write_bytes(b"damaged")
    with pytest.raises(TaskError, match="damaged, remove it") as caught:
        found(remote(server), target)
    assert not isinstance(caught.value, DataMissing)
    assert str(caught.value).startswith(f"{target}: md5 ")
    assert target.read_bytes() == b"damaged"


def test_what_is_not_there_is_downloaded(server, target):
    server.files["/file.bin"] = BODY
    assert found(remote(server), target).read_bytes() == BODY


def test_a_digest_is_of_the_file_not_of_its_name(tmp_path):
    (tmp_path / "a").write_bytes(b"same")
    digest = hashlib.sha256(b"same").hexdigest()
    assert checked(tmp_path / "a", digest, "sha256") == tmp_path / "a"
    with pytest.raises(TaskError, match=r"a: sha256 .*published 00"):
        checked(tmp_path / "a", "00", "sha256")


def test_the_data_root_is_the_one_given_then_the_variable_then_the_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("RATEFRONT_DATA", "~/elsewhere")
    assert data_root("given") == Path.cwd() / "given"
    assert data_root() == tmp_path / "elsewhere"
    monkeypatch.setenv("RATEFRONT_DATA", "")
    assert data_root() == tmp_path / ".cache" / "ratefront-data"
    monkeypatch.delenv("RATEFRONT_DATA")
    assert data_root(None) == tmp_path / ".cache" / "ratefront-data"
