"""`classify` decodes on all cores: answers stay in the order of the files, and little waits in memory."""

from __future__ import annotations

from collections.abc import Iterator

from service.alerts import Alert, AlertError, Decoder
from service.cli import decoding
from service.cli.decoding import decoded
from service.simulate import simulate
from service.stream.files.archives import Damage, PacketFile


def test_the_order_of_files_is_kept_and_damage_stays_in_its_place() -> None:
    packets = [alert.packet for alert in simulate(100, seed=4)]
    files: list[PacketFile | Damage] = [PacketFile(str(n), raw, str(n)) for n, raw in enumerate(packets)]
    files[40] = Damage("40", "unreadable_file", "can't be read")
    files[70] = PacketFile("70", b"no packet", "70")
    found = list(decoded(files, Decoder(), threads=4))
    assert [one for one, _ in found] == files
    plain = Decoder()
    for number, (_, alerts) in enumerate(found):
        if number == 40:
            assert alerts == []
        elif number == 70:
            assert [type(each) for each in alerts] == [AlertError]
        else:
            (alert,) = alerts
            assert isinstance(alert, Alert)
            assert alert.candid == plain.decode(packets[number]).candid


def test_little_is_read_ahead(monkeypatch) -> None:
    monkeypatch.setattr(decoding, "BYTES", 1000)  # less than a packet: each goes alone
    packet = next(iter(simulate(1, seed=4))).packet
    taken = 0

    def files() -> Iterator[PacketFile]:
        nonlocal taken
        for number in range(50):
            taken += 1
            yield PacketFile(str(number), packet, str(number))

    for number, _ in enumerate(decoded(files(), Decoder(), threads=2)):
        assert taken - number <= 2 * 2 + 1
