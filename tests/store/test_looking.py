"""`store stats` and `store prune` look at a store that is there: they never make one."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from service.cli.store import store as command
from service.store import open_store

LOOKING = [("stats",), ("prune", "--older-than", "10", "--yes")]


@pytest.mark.parametrize("arguments", LOOKING)
def test_a_file_that_is_not_there_is_said_and_not_made(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    path = tmp_path / "folder" / "mistyped.db"
    done = CliRunner().invoke(command, [*arguments, "--url", f"sqlite:///{path}"])
    assert done.exit_code == 1
    assert f"store {path} is not there" in done.output
    assert not path.parent.exists()
    open_store(f"sqlite:///{path}").close()
    assert CliRunner().invoke(command, [*arguments, "--url", f"sqlite:///{path}"]).exit_code == 0


@pytest.mark.postgres
@pytest.mark.parametrize("arguments", LOOKING)
def test_tables_that_are_not_there_are_said_and_not_made(postgres_url: str, arguments: tuple[str, ...]) -> None:
    import psycopg

    done = CliRunner().invoke(command, [*arguments, "--url", postgres_url])
    assert done.exit_code == 1
    assert "is not there: the database has no tables of this service" in done.output
    with psycopg.connect(postgres_url) as connection:
        assert connection.execute("SELECT to_regnamespace('alert_classifier')").fetchone() == (None,)
    store = open_store(postgres_url)
    store.check()
    store.close()
    assert CliRunner().invoke(command, [*arguments, "--url", postgres_url]).exit_code == 0
