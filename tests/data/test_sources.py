"""ESC-50 and UrbanSound8K through soundata (a stand-in here: no network)."""

import hashlib
import tarfile
from types import SimpleNamespace

import pytest
import soundata

from envsound.base.errors import InputError
from envsound.data.recordings import OFFICIAL_CSV, soundata_folder

CLEAN = ({"clips": {}}, {"clips": {}})


class Soundata:
    """Answers as soundata 1.0.1's dataset does; `answers` are what successive calls of validate find."""

    def __init__(self, *answers, failure=None):
        self.answers, self.failure, self.n_downloads = list(answers), failure, 0
        archive = SimpleNamespace(filename="master.zip", checksum=hashlib.md5(b"good").hexdigest())
        self.remotes = {"all": archive}

    def __call__(self, name, data_home):
        self.name, self.data_home = name, data_home
        return self

    def validate(self, verbose):
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def download(self):
        self.n_downloads += 1
        if self.failure:
            raise self.failure


@pytest.fixture
def stand_in(monkeypatch):
    def install(*answers, failure=None):
        fake = Soundata(*answers, failure=failure)
        monkeypatch.setattr(soundata, "initialize", fake)
        return fake

    return install


@pytest.mark.parametrize(
    "answers", [[CLEAN], [FileNotFoundError(), CLEAN], [({"clips": {"1-1-A-0": ["a"]}}, {"clips": {}}), CLEAN]]
)
def test_a_first_use_downloads_and_validates_and_a_valid_copy_is_not_downloaded_again(tmp_path, stand_in, answers):
    fake = stand_in(*answers)
    assert soundata_folder("esc50", tmp_path) == tmp_path / "esc50"
    assert (fake.name, fake.data_home) == ("esc50", str(tmp_path / "esc50"))
    assert fake.n_downloads == len(answers) - 1 and fake.answers == []


@pytest.mark.parametrize(
    ("failure", "content", "kept"),
    [(OSError("no route to host"), b"good", True), (OSError("MD5 checksum differs"), b"half", False)],
)
def test_a_failed_download_is_one_clear_error_and_only_a_damaged_archive_is_removed(
    tmp_path, stand_in, failure, content, kept
):
    (tmp_path / "esc50").mkdir()
    (tmp_path / "esc50" / "master.zip").write_bytes(content)
    stand_in(FileNotFoundError(), failure=failure)
    with pytest.raises(InputError, match=rf"dataset='esc50': download into .* failed \({failure}\); .*set data_dir"):
        soundata_folder("esc50", tmp_path)
    assert (tmp_path / "esc50" / "master.zip").exists() == kept


def test_files_that_fail_their_checksum_are_counted_and_an_index_that_does_not_come_is_an_error(tmp_path, stand_in):
    (tmp_path / "esc50" / "audio").mkdir(parents=True)
    fake = stand_in(({"clips": {"2-2-B-1": ["b"]}}, {"clips": {"1-1-A-0": ["a"]}}))
    with pytest.raises(InputError, match=r"2 files in .* fail their checksum \(first: 1-1-A-0\)"):
        soundata_folder("esc50", tmp_path)
    assert fake.n_downloads == 0
    stand_in(FileNotFoundError(), FileNotFoundError())
    with pytest.raises(InputError, match="no index"):
        soundata_folder("esc50", tmp_path)


def test_urbansound8k_is_fetched_alike_and_its_own_layout_is_named(tmp_path, stand_in):
    fake = stand_in(FileNotFoundError(), CLEAN)
    assert soundata_folder("urbansound8k", tmp_path) == tmp_path / "urbansound8k"
    assert (fake.name, fake.n_downloads) == ("urbansound8k", 1)
    stand_in(FileNotFoundError(), failure=tarfile.ReadError("cut short"))
    with pytest.raises(InputError, match=r"dataset='urbansound8k': download .* \(cut short\).* holding metadata/ and"):
        soundata_folder("urbansound8k", tmp_path)


@pytest.mark.parametrize("name", OFFICIAL_CSV)
def test_soundata_still_offers_what_is_used_here(tmp_path, name):
    dataset = soundata.initialize(name, data_home=str(tmp_path))
    assert all(remote.checksum and remote.filename for remote in dataset.remotes.values())
    assert callable(dataset.download) and callable(dataset.validate)
