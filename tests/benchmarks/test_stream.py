"""What the benchmarks tell the processes that they start."""

from __future__ import annotations

from pathlib import Path

from benchmarks.stream import as_json
from service.config import KafkaSettings, Settings, StoreSettings


def test_settings_reach_a_process_as_they_are() -> None:
    url = "postgresql://reader:word@127.0.0.1/bench"
    kafka = KafkaSettings(group_id="bench", schema_folder=Path("schemas"), librdkafka={"sasl.password": "word"})
    settings = Settings(kafka=kafka, store=StoreSettings(url=url))
    reached = Settings.model_validate_json(as_json(settings))
    assert reached == settings
    assert reached.store.url.get_secret_value() == url
