import getpass
import os
import pwd
from pathlib import Path

import pytest

from dit_scaling.common.surroundings import give_home, name_user

FOLDER = Path("cache/home")


@pytest.mark.parametrize("home", ["/", "", "/proc/none"])
def test_a_home_that_cannot_be_written_is_replaced(home: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", home)
    assert give_home(FOLDER) == tmp_path / FOLDER
    assert Path.home() == tmp_path / FOLDER
    assert Path.home().is_dir()


def test_a_home_that_can_be_written_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert give_home(FOLDER) is None
    assert os.environ["HOME"] == str(tmp_path)
    assert not FOLDER.exists()


def test_where_no_folder_can_be_made_home_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/")
    assert give_home(Path("/proc/none")) is None
    assert os.environ["HOME"] == "/"


def test_a_user_without_a_name_gets_one(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(uid: int) -> None:
        raise KeyError(f"getpwuid(): uid not found: {uid}")

    for variable in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("USER", "")  # so that it is put back
    monkeypatch.setattr(pwd, "getpwuid", unknown)
    name_user()
    assert getpass.getuser() == f"uid-{os.getuid()}"
