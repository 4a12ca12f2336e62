"""What was in hand when a process ended without a word, as the next one finds it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from service.config import PipelineSettings, Settings, StoreSettings
from service.stream.batch import Message
from service.stream.interfaces import StreamError
from service.stream.journal import SLOT_BYTES, Journal, open_journal, stretches


def message(offset: int, partition: int = 0) -> Message:
    return Message("alerts", partition, offset, b"")


def begin(journal: Journal, slot: int, stage: str, *messages: Message) -> None:
    journal.begin(slot, stage, stretches(messages))


def die(journal: Journal) -> None:
    """As the kernel ends a process: the file is closed and its lock with it; nothing is put in order."""
    journal._map.close()
    os.close(journal._file)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "var" / "in-flight"


def ends_with_in_hand(path: Path, *messages: Message) -> Journal:
    """The journal of a process that takes messages in hand and dies; then the next process's."""
    journal = Journal(path)
    begin(journal, 1, "decode", *messages)
    die(journal)
    return Journal(path)


def test_alone_in_hand_at_two_ends_in_a_row_it_is_refused(path: Path) -> None:
    die(ends_with_in_hand(path, message(7)))
    journal = Journal(path)
    first = journal.suspect(message(7))
    assert first is not None
    assert not first.refused
    die(journal)
    journal = ends_with_in_hand(path, message(7))
    suspect = journal.suspect(message(7))
    assert suspect is not None
    assert suspect.refused
    assert suspect.stage == "decode"
    assert journal.suspect(message(8)) is None
    assert journal.suspect(message(7, partition=1)) is None


def test_one_among_others_is_a_suspect_and_must_be_found_alone_twice(path: Path) -> None:
    journal = ends_with_in_hand(path, *map(message, range(5, 9)), message(3, partition=1))
    suspects = [place for place in range(12) if journal.suspect(message(place))]
    assert suspects == [5, 6, 7, 8]
    assert journal.suspect(message(3, partition=1))
    die(journal)
    for refused in (False, True):
        journal = ends_with_in_hand(path, message(6))
        found = journal.suspect(message(6))
        assert found is not None
        assert found.refused == refused
        die(journal)
    assert not any((found := journal.suspect(message(place))) and found.refused for place in (5, 7, 8))


def test_what_was_passed_is_no_suspect_any_more(path: Path) -> None:
    """Given a message that was alone in hand at an end, when it is answered, then a later end is its first."""
    journal = ends_with_in_hand(path, message(6))
    journal.passed(message(6))
    die(journal)
    found = ends_with_in_hand(path, message(6)).suspect(message(6))
    assert found is not None
    assert not found.refused


def test_of_a_stretch_those_behind_are_still_suspects(path: Path) -> None:
    journal = ends_with_in_hand(path, *map(message, range(5, 9)))
    journal.passed(message(6))
    die(journal)
    journal = Journal(path)
    assert [place for place in range(12) if journal.suspect(message(place))] == [7, 8]
    journal.passed(message(9))
    assert not journal.suspects


def test_a_clean_end_leaves_nothing(path: Path) -> None:
    journal = Journal(path)
    begin(journal, 1, "decode", message(1))
    journal.end(1)
    journal.close()
    assert not path.exists()
    assert not Journal(path).suspects


def test_two_processes_have_two_files(path: Path) -> None:
    first, second = Journal(path), Journal(path)
    assert [first.path.name, second.path.name] == ["in-flight", "in-flight-2"]
    begin(second, 1, "decode", message(1))
    die(first)
    assert Journal(path).path == path


def test_half_a_note_says_nothing(path: Path) -> None:
    """Given a process that died while it wrote, or a file of something else, then there are no suspects."""
    journal = Journal(path)
    begin(journal, 1, "decode", message(1))
    journal._map[SLOT_BYTES + 8 : SLOT_BYTES + 30] = bytes(range(22))
    die(journal)
    journal = Journal(path)
    assert not journal.suspects
    die(journal)
    path.write_bytes(os.urandom(5 * SLOT_BYTES))
    assert not Journal(path).suspects


def test_more_partitions_than_fit_are_not_noted(path: Path) -> None:
    journal = ends_with_in_hand(path, *(message(1, partition) for partition in range(2000)))
    assert not journal.suspects


def test_it_lies_beside_the_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    def place(url: str) -> Path | None:
        journal = open_journal(Settings(store=StoreSettings(url=url)))
        return journal.path if journal else None

    assert place(f"sqlite:///{tmp_path}/store.db") == tmp_path / "store.db-in-flight"
    assert place("postgresql://localhost/alerts") == Path("var/alert-classifier-in-flight")
    assert place("sqlite://") is None


def test_a_chosen_place_that_can_not_be_written_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    settings = Settings(pipeline=PipelineSettings(journal=tmp_path / "file" / "journal"))
    with pytest.raises(StreamError, match=r"pipeline\.journal: .*/file/journal can't be written"):
        open_journal(settings)
