"""`store stats` and `store prune` look at a store that is there: they never make one."""

from __future__ import annotations

from pathlib import Path

import pytest

from service.cli import main
from service.store import open_store

LOOKING = [["stats"], ["prune", "--older-than", "10", "--yes"]]


@pytest.mark.parametrize("arguments", LOOKING)
def test_a_file_that_is_not_there_is_said_and_not_made(
    tmp_path: Path, arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "folder" / "mistyped.db"
    asked = ["store", *arguments, "--url", f"sqlite:///{path}"]
    with pytest.raises(SystemExit, match="1"):
        main(asked)
    assert f"store {path} is not there" in capsys.readouterr().err
    assert not path.parent.exists()
    open_store(f"sqlite:///{path}").close()
    main(asked)


@pytest.mark.postgres
@pytest.mark.parametrize("arguments", LOOKING)
def test_tables_that_are_not_there_are_said_and_not_made(
    postgres_url: str, arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    import psycopg

    asked = ["store", *arguments, "--url", postgres_url]
    with pytest.raises(SystemExit, match="1"):
        main(asked)
    assert "is not there: the database has no tables of this service" in capsys.readouterr().err
    with psycopg.connect(postgres_url) as connection:
        assert connection.execute("SELECT to_regnamespace('alert_classifier')").fetchone() == (None,)
    store = open_store(postgres_url)
    store.check()
    store.close()
    main(asked)
