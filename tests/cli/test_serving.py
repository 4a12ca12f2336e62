"""`serve` and `demo` as processes: up within seconds, down in order, clear when they can't."""

import json
import os
import shutil
import signal
import socket
import subprocess
import threading
import time
from contextlib import closing, contextmanager
from pathlib import Path

import httpx
import onnxruntime
import pytest

from service.api.app import create_app
from service.cli.hosting import HttpServer
from service.config import load_settings
from service.inference.bundle import default_bundle_folder, load_bundle, seal_bundle
from service.inference.registry import ModelRegistry
from service.simulate import simulate
from service.store import open_store


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


@contextmanager
def running(command, environment, *arguments):
    process = subprocess.Popen(
        [*command, *arguments], env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()


def answer_of(url, process, wanted=lambda answer: answer.status_code == 200, timeout_s=60.0):
    end = time.monotonic() + timeout_s
    while time.monotonic() < end:
        assert process.poll() is None, process.stdout.read()
        try:
            answer = httpx.get(url)
        except httpx.TransportError:
            pass
        else:
            if wanted(answer):
                return answer
        time.sleep(0.1)
    pytest.fail(f"{url} gave no wanted answer within {timeout_s:.0f} s")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_serve_without_a_broker_answers_http_and_ends_in_order(command, environment, number):
    port = free_port()
    with running(command, environment, "serve", "--port", str(port)) as process:
        assert answer_of(f"http://127.0.0.1:{port}/health/ready", process).json()["ready"] is True
        process.send_signal(number)
        assert process.wait(15) == 0
        assert "Traceback" not in process.stdout.read()


@pytest.mark.parametrize(
    ("arguments", "announced"), [(("serve",), "serving "), (("demo", "--alerts", "5"), "page ")], ids=["serve", "demo"]
)
def test_a_first_start_answers_before_anything_is_compiled(command, environment, tmp_path, arguments, announced):
    """Given no compiled kernels, when the page is announced, then it answers at once, and so does the classifier."""
    port, cache = free_port(), tmp_path / "kernels"
    with running(command, environment | {"NUMBA_CACHE_DIR": str(cache)}, *arguments, "--port", str(port)) as process:
        assert any(announced in line for line in process.stdout), "it ended before it announced anything"
        assert processor_s(process) < 3.0
        begun = time.monotonic()
        assert httpx.get(f"http://127.0.0.1:{port}/health/ready", timeout=30.0).json()["ready"] is True
        packet = next(iter(simulate(1, seed=3))).packet
        answer = httpx.post(
            f"http://127.0.0.1:{port}/v1/classify/alert", content=packet, timeout=30.0,
            headers={"content-type": "application/octet-stream"},
        )  # fmt: skip
        assert answer.status_code == 200
        assert time.monotonic() - begun < 4.0
        while not list(cache.rglob("*.nbc")):  # and goes on to compile them
            assert process.poll() is None
            time.sleep(0.2)


def processor_s(process):
    """Seconds of processor that a process has taken: on a busy machine it may wait as long again for its turn."""
    fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_serve_does_not_start_on_a_device_that_is_not_there(command, environment):
    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("CUDA is here")
    done = subprocess.run(
        [*command, "serve", "--port", "0"], env=environment | {"ALERT_CLASSIFIER_MODEL__DEVICE": "cuda"},
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 1
    assert "model.device is cuda, but the installed onnxruntime has no CUDA provider" in done.stderr
    assert "Traceback" not in done.stderr


def test_hangup_swaps_the_model_and_refuses_a_broken_one(command, environment, tmp_path):
    bundle = tmp_path / "bundle"
    shutil.copytree(default_bundle_folder(), bundle)
    port = free_port()
    with running(command, environment, "serve", "--port", str(port), "--bundle", str(bundle)) as process:
        url = f"http://127.0.0.1:{port}/v1/models"

        def active() -> str:
            return httpx.get(url).json()["models"][0]["version"]

        answer_of(url, process)
        manifest = json.loads((bundle / "manifest.json").read_text())
        (bundle / "manifest.json").write_text(json.dumps(manifest | {"version": "99.0"}))
        seal_bundle(bundle)
        process.send_signal(signal.SIGHUP)
        answer_of(url, process, lambda _: active() == "99.0")
        (bundle / "model.onnx").write_bytes(b"broken")
        process.send_signal(signal.SIGHUP)
        time.sleep(1.0)
        assert active() == "99.0"
        process.send_signal(signal.SIGTERM)
        assert process.wait(15) == 0
        assert "the new model is refused" in process.stdout.read()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_is_not_lost_before_the_server_listens_to_it(number, tmp_path):
    class Early(HttpServer):
        def run(self, sockets=None):
            signal.raise_signal(number)
            super().run(sockets)

    settings, models = load_settings(), ModelRegistry(load_bundle(), threads=1)
    with (
        closing(open_store(f"sqlite:///{tmp_path}/store.db")) as store,
        socket.create_server(("127.0.0.1", 0)) as listening,
    ):
        server = Early(create_app(settings, models, store), settings.api, listening)
        too_late = threading.Timer(10, server.stop)
        too_late.start()
        server.serve_until_stopped(lambda: None)
        assert too_late.is_alive()
        too_late.cancel()


def test_ctrl_c_while_a_compiled_module_is_imported_is_an_interruption(run, monkeypatch):
    def import_module(name):  # as pybind11 does it
        raise ImportError("initialization failed") from KeyboardInterrupt()

    monkeypatch.setattr("service.cli.importlib.import_module", import_module)
    assert run("serve", status=130).stderr == "interrupted\n"


def test_a_port_that_is_taken_is_told_at_once(run):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert f"can't listen on 127.0.0.1:{port}" in run("serve", "--port", port, status=1).stderr
        assert "--port" in run("demo", "--port", port, status=1).stderr


def test_serve_says_what_is_missing(run):
    assert "kafka.bootstrap_servers" in run("serve", "--topic", "x", "--port", "0", status=1).stderr
    assert "--from" in run("serve", "--until", "2026-01-01", status=2).stderr
    assert "2026-01-31" in run("serve", "--from", "yesterday", status=2).stderr
    assert "store url" in run("serve", "--store", "mysql://x", "--port", "0", status=1).stderr


def test_the_demo_classifies_a_night_and_ctrl_c_ends_it(command, environment):
    port = free_port()
    with running(command, environment, "demo", "--port", str(port), "--alerts", "300", "--rate", "100") as process:
        url = f"http://127.0.0.1:{port}"
        answer_of(f"{url}/v1/accounting", process, lambda answer: answer.json()["published"] == 300)
        assert httpx.get(f"{url}/v1/accounting").json()["closes"] is True
        listed = httpx.get(f"{url}/v1/objects", params={"limit": 5}).json()["objects"]
        assert len(listed) == 5
        watched = subprocess.Popen(
            [*command, "watch", "--url", url, "--format", "jsonl"], env=environment, stdout=subprocess.PIPE, text=True
        )
        assert json.loads(watched.stdout.readline())["object_id"].startswith("ZTF")
        watched.kill()
        watched.wait()
        metrics = httpx.get(f"{url}/metrics").text
        assert "alert_classifier_published_total" in metrics
        process.send_signal(signal.SIGINT)
        assert process.wait(15) == 0
        assert "300 classified" in process.stdout.read()


def test_the_demo_sends_both_surveys_through_one_pipeline(command, environment):
    port = free_port()
    arguments = ("demo", "--survey", "both", "--port", str(port), "--alerts", "120", "--rate", "100")
    with running(command, environment, *arguments) as process:
        url = f"http://127.0.0.1:{port}"
        answer_of(f"{url}/v1/accounting", process, lambda answer: answer.json()["in_flight"] == 0
                  and answer.json()["consumed"] == 120)  # fmt: skip
        account = httpx.get(f"{url}/v1/accounting").json()
        assert account["closes"] is True
        assert account["filtered"]["solar_system"] > 0
        listed = httpx.get(f"{url}/v1/objects", params={"limit": 1000}).json()["objects"]
        assert {each["survey"] for each in listed} == {"ztf", "lsst"}
        rubin = next(each for each in listed if each["survey"] == "lsst")
        assert (rubin["top_class"], "no_model_for_survey" in rubin["flags"]) == (None, True)
        known = httpx.get(f"{url}/v1/objects/{rubin['object_id']}").json()
        assert set(known["light_curve"]["band"]) <= set("ugrizy")
        process.send_signal(signal.SIGINT)
        assert process.wait(15) == 0
