"""Keys of a mounted Secret."""

from pathlib import Path

from deepseek_workloads.serve.api.keys import ApiKeys


def mount(folder: Path, version: str, **keys: str) -> None:
    """As the kubelet does: a folder of its own for each version, and a link that is turned at once."""
    data = folder / f"..{version}"
    data.mkdir(parents=True)
    for name, value in keys.items():
        (data / name).write_text(value)
        if not (folder / name).is_symlink():
            (folder / name).symlink_to(Path("..data") / name)
    (folder / "..data_tmp").symlink_to(data.name)
    (folder / "..data_tmp").replace(folder / "..data")


def test_a_key_of_the_secret_is_let_in(tmp_path: Path) -> None:
    mount(tmp_path, "1", alice="first\n", bob="second")
    keys = ApiKeys(tmp_path)

    assert keys.allow(b"Bearer first")
    assert keys.allow(b"bearer second")


def test_everything_else_is_not(tmp_path: Path) -> None:
    mount(tmp_path, "1", alice="first", empty="\n")
    keys = ApiKeys(tmp_path)

    for header in (b"", b"first", b"Bearer", b"Bearer ", b"Bearer firs", b"Bearer first2", b"Basic first"):
        assert not keys.allow(header), header


def test_without_keys_nobody_is_let_in(tmp_path: Path) -> None:
    assert not ApiKeys(tmp_path / "not-mounted").allow(b"Bearer ")


def test_a_rotated_secret_holds_without_a_restart(tmp_path: Path) -> None:
    mount(tmp_path, "1", alice="old")
    keys = ApiKeys(tmp_path)
    assert keys.allow(b"Bearer old")

    mount(tmp_path, "2", alice="new")

    assert keys.allow(b"Bearer new")
    assert not keys.allow(b"Bearer old")
