"""Find the user's folders: the same as before platformdirs was used, for any environment."""

import os
import stat
import sys
from contextlib import contextmanager
from pathlib import Path

import platformdirs.unix
import platformdirs.windows
import pytest

from GTRStagingLib.model import registry
from GTRStagingLib.nomogram import nomogram
from GTRStagingLib.support import folders
from GTRStagingLib.support.files import atomic_file, give_usual_mode, new_folder, replace_files, write_json
from GTRStagingLib.support.folders import cache_folder, user_folder

posix = pytest.mark.skipif(sys.platform == "win32", reason="XDG's variables")


@pytest.fixture
def plain(monkeypatch, tmp_path):
    """Set a home folder, and unset all other variables."""
    for name in ("XDG_DATA_HOME", "XDG_CACHE_HOME", "GTRSTAGING_MODELS", "GTRSTAGING_CACHE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


@posix
@pytest.mark.parametrize("system", ["linux", "darwin"])
def test_linux_and_macos_keep_files_under_the_home_folder(plain, system, monkeypatch):
    monkeypatch.setattr(sys, "platform", system)
    assert user_folder("data") == plain / ".local/share/gtrstaging"
    assert user_folder("cache") == cache_folder() == plain / ".cache/gtrstaging"
    assert registry.models_folder() == plain / ".local/share/gtrstaging/models"
    assert nomogram.nomograms_folder() == plain / ".local/share/gtrstaging/nomograms"


@posix
def test_xdg_and_gtrstaging_variables_take_precedence(plain, monkeypatch):
    monkeypatch.setenv("XDG_DATA_HOME", str(plain / "data"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(plain / "cache"))
    assert registry.models_folder() == plain / "data/gtrstaging/models"
    assert cache_folder() == plain / "cache/gtrstaging"
    monkeypatch.setenv("GTRSTAGING_MODELS", str(plain / "m"))
    monkeypatch.setenv("GTRSTAGING_CACHE", str(plain / "c"))
    assert registry.models_folder() == plain / "m"
    assert cache_folder() == plain / "c"


def test_windows_has_one_folder_of_the_local_profile(plain, monkeypatch):
    """Uses platformdirs' class for Windows, with a stand-in for the system call."""
    asked = []

    def answer(folder):
        asked.append(folder)
        return str(plain)

    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setattr(platformdirs, "PlatformDirs", platformdirs.windows.Windows)
    monkeypatch.setattr(platformdirs.windows, "get_win_folder", answer)
    assert user_folder("data") == user_folder("cache") == plain / "gtrstaging"
    assert asked == ["CSIDL_LOCAL_APPDATA"] * 2


def test_without_a_home_there_is_no_folder(homeless):
    assert user_folder("data") is user_folder("cache") is cache_folder() is None


def test_shipped_models_are_offered_without_platformdirs(plain, monkeypatch):
    own = plain / ".local/share/gtrstaging/nomograms"
    own.mkdir(parents=True)
    Path(own / "mine.json").write_text("{}")
    assert "mine" in nomogram.available()
    monkeypatch.setitem(sys.modules, "platformdirs", None)
    assert user_folder("data") is None
    assert set(registry.available()) >= {registry.UNTRAINED, "demonstration"}
    assert nomogram.PUBLISHED in nomogram.available()
    assert "mine" not in nomogram.available()


def test_all_exported_names_exist():
    assert all(hasattr(folders, name) for name in folders.__all__)


# -- modes ---------------------------------------------------------------------------------------------------------


@contextmanager
def umask(value):
    before = os.umask(value)
    try:
        yield
    finally:
        os.umask(before)


@posix
@pytest.mark.parametrize(
    ("mask", "file", "folder"),
    [(0o022, 0o644, 0o755), (0o077, 0o600, 0o700), (0o002, 0o664, 0o775), (0o027, 0o640, 0o750)],
)
def test_files_and_folders_have_the_mode_that_the_umask_allows(tmp_path, mask, file, folder):
    def mode(name):
        return stat.S_IMODE((tmp_path / name).stat().st_mode)

    with umask(mask):
        write_json({}, tmp_path / "new" / "a.json")
        with atomic_file(tmp_path / "b") as stream:
            stream.write(b"b")
        with atomic_file(tmp_path / "secret", private=True) as stream:
            stream.write(b"s")
        with new_folder(tmp_path / "whole") as work:
            (work / "c").write_text("c")
            (work / "d").write_text("d")
            (work / "d").chmod(0o600)
            give_usual_mode(work / "d")
        with replace_files(tmp_path / "results", ["e"]) as work:
            (work / "e").write_text("e")
    assert {name: mode(name) for name in ("new/a.json", "b", "whole/c", "whole/d", "results/e")} == {
        "new/a.json": file, "b": file, "whole/c": file, "whole/d": file, "results/e": file
    }  # fmt: skip
    assert {mode(name) for name in ("new", "whole", "results")} == {folder}
    assert mode("secret") == 0o600 & ~mask
    assert {path.name for path in (tmp_path / "whole").iterdir()} == {"c", "d"}
