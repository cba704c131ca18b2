"""A user's own folders: where they were before platformdirs told them, whatever the environment says."""

import sys
from pathlib import Path

import platformdirs.unix
import platformdirs.windows
import pytest

from GTRStagingLib.model import registry
from GTRStagingLib.nomogram import nomogram
from GTRStagingLib.support import folders
from GTRStagingLib.support.folders import cache_folder, user_folder

posix = pytest.mark.skipif(sys.platform == "win32", reason="XDG's variables")


@pytest.fixture
def plain(monkeypatch, tmp_path):
    """A home, and nothing else said."""
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
def test_the_variables_of_xdg_and_our_own_go_first(plain, monkeypatch):
    monkeypatch.setenv("XDG_DATA_HOME", str(plain / "data"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(plain / "cache"))
    assert registry.models_folder() == plain / "data/gtrstaging/models"
    assert cache_folder() == plain / "cache/gtrstaging"
    monkeypatch.setenv("GTRSTAGING_MODELS", str(plain / "m"))
    monkeypatch.setenv("GTRSTAGING_CACHE", str(plain / "c"))
    assert registry.models_folder() == plain / "m"
    assert cache_folder() == plain / "c"


def test_windows_has_one_folder_of_the_local_profile(plain, monkeypatch):
    """By platformdirs' own class for Windows, its question to the system answered here."""
    asked = []

    def answer(folder):
        asked.append(folder)
        return str(plain)

    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setattr(platformdirs, "PlatformDirs", platformdirs.windows.Windows)
    monkeypatch.setattr(platformdirs.windows, "get_win_folder", answer)
    assert user_folder("data") == user_folder("cache") == plain / "gtrstaging"
    assert asked == ["CSIDL_LOCAL_APPDATA"] * 2


def test_without_a_home_there_is_none(homeless):
    assert user_folder("data") is user_folder("cache") is cache_folder() is None


def test_before_anything_is_installed_what_is_shipped_is_offered(plain, monkeypatch):
    own = plain / ".local/share/gtrstaging/nomograms"
    own.mkdir(parents=True)
    Path(own / "mine.json").write_text("{}")
    assert "mine" in nomogram.available()
    monkeypatch.setitem(sys.modules, "platformdirs", None)
    assert user_folder("data") is None
    assert set(registry.available()) >= {registry.UNTRAINED, "demonstration"}
    assert nomogram.PUBLISHED in nomogram.available()
    assert "mine" not in nomogram.available()


def test_everything_offered_is_there():
    assert all(hasattr(folders, name) for name in folders.__all__)
