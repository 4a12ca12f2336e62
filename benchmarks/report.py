"""Write the tables of docs/performance.md from the results under benchmarks/results.

    python -m benchmarks.report               (with --check it writes nothing and fails where the page is out of date)

A table stands between `<!-- figures: NAME -->` and `<!-- end of figures -->`; NAME is a function below. Where a result
is missing the page says so.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).resolve().parent.parent
PAGE: Final = ROOT / "docs" / "performance.md"
RESULTS: Final = ROOT / "benchmarks" / "results"

_BLOCK: Final = re.compile(r"(<!-- figures: (\w+) -->\n).*?(<!-- end of figures -->)", re.DOTALL)

# BOOM's published drain, 7 to 25 workers on 32 cores: no gain beyond (see the page for the source)
BOOM_ALERTS_PER_SECOND: Final = 883

Results = dict[str, Any]


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.report", description=__doc__.partition("\n")[0])
    parser.add_argument("--check", action="store_true")
    options = parser.parse_args(arguments)
    text = PAGE.read_text()
    rendered = render(text, results())
    if rendered != text and options.check:
        sys.exit(f"out of date: {PAGE.name}; run python -m benchmarks.report")
    PAGE.write_text(rendered)


def results(folder: Path = RESULTS) -> Results:
    """What each benchmark said last, by the name of its file."""
    return {file.stem: json.loads(file.read_text()) for file in sorted(folder.glob("*.json"))}


def render(text: str, found: Results) -> str:
    """The page with its tables written anew. Raises KeyError where it asks for a table that there is not."""

    def fill(block: re.Match[str]) -> str:
        make, needed = TABLES[block[2]]
        missing = [name for name in needed if name not in found]
        table = f"Not measured yet: {', '.join(missing)}.\n" if missing else make(found)
        return f"{block[1]}{table}{block[3]}"

    return _BLOCK.sub(fill, text)


def machine(found: Results) -> str:
    told = found["stream"]["machine"]
    versions = ", ".join(f"{name} {version}" for name, version in told["versions"].items())
    return (
        f"{told['cpu']}, {told['cores']} cores, {told['memory_gib']:.0f} GiB of memory; Python {told['python']};"
        f" {versions}.\n"
    )


def goals(found: Results) -> str:
    stream, api, million, decode = found["stream"], found["api"], found["million"], found["decode"]
    rows = [
        ("drain, alerts/s", "1,333 (aim 2,000)", f"{stream['alerts_per_second']:,.0f}"),
        ("paced at 250/s, p50", "50 ms", f"{stream['p50_ms']:.0f} ms"),
        ("paced at 250/s, p99", "250 ms", f"{stream['p99_ms']:.0f} ms"),
        ("decode, times faster than `fastavro.reader`", "20", f"{decode['ratio_to_fastavro_reader']:.1f}"),
        ("decode, per packet", "0.07 ms", f"{decode['ms_per_packet']:.3f} ms"),
        (f"memory at {million['objects']:,} objects", "1 GB", f"{million['rss_end_mb'] / 1000:.2f} GB"),
        ("its growth over the last half", "none", f"{million['rss_last_half_mb']:+.1f} MB"),
        ("disk per object", "3 KB", f"{million['store_bytes_per_object'] / 1000:.2f} KB"),
        ("`POST /v1/classify`, 50 points, 200/s, one core, p99", "20 ms", f"{api['p99_ms']:.1f} ms"),
    ]
    return _table(("what", "goal", "measured"), rows)


def stream(found: Results) -> str:
    s = found["stream"]
    rows = [
        ("drain", f"{s['alerts_per_second']:,.0f} alerts/s"),
        ("the plain loop, same packets and broker", f"{s['baseline_alerts_per_second']:,.0f} alerts/s"),
        ("drain over plain loop", f"{s['ratio_to_baseline']:.1f}"),
        ("drain over BOOM's plateau on 32 cores", f"{s['alerts_per_second'] / BOOM_ALERTS_PER_SECOND:.1f}"),
        ("processor time per alert, drain", f"{s['cpu_ms_per_alert']:.2f} ms"),
        (f"latency at {s['rate']:.0f}/s: p50, p99, longest", _milliseconds(s, "p50_ms", "p99_ms", "max_ms")),
        (f"processor time per alert at {s['rate']:.0f}/s", f"{s['paced_cpu_ms_per_alert']:.2f} ms"),
        ("largest resident memory", f"{s['rss_mb']:.0f} MB"),
        ("alerts, size of each", f"{s['alerts']:,}, {s['packet_bytes'] / 1000:.0f} kB"),
    ]
    return _table(("", "measured"), rows)


def stages(found: Results) -> str:
    each = found["stream"]["stage_ms_per_alert"]
    rows = [(name, f"{milliseconds:.3f}") for name, milliseconds in each.items()]
    return _table(("stage", "ms per alert, wall clock"), rows)


def skies(found: Results) -> str:
    young, mature = found["skies"]["skies"]["young"], found["skies"]["skies"]["mature"]
    rows = [
        ("earlier detections of an object, mean and 90 % within", "none",
         f"{mature['earlier_detections_mean']:.0f}, {mature['earlier_detections_p90']:.0f}"),
        *(
            (what, f"{young[name]:,.{digits}f} {unit}", f"{mature[name]:,.{digits}f} {unit}")
            for what, name, digits, unit in (
                ("drain", "alerts_per_second", 0, "alerts/s"),
                ("processor time per alert, drain", "cpu_ms_per_alert", 2, "ms"),
                ("latency, p50", "p50_ms", 0, "ms"),
                ("latency, p99", "p99_ms", 0, "ms"),
                ("largest resident memory", "rss_mb", 0, "MB"),
                ("store", "store_mb", 0, "MB"),
            )
        ),
        ("processor time over that of the young sky", "1",
         f"{mature['cpu_ms_per_alert'] / young['cpu_ms_per_alert']:.2f}"),
    ]  # fmt: skip
    return _table(("", "young", "mature"), rows)


def ages(found: Results) -> str:
    measured = found["ages"]["ages"]
    steps = list(measured[0]["ms"])
    rows = [
        (
            row["earlier_detections"],
            f"{row['points']:.0f}",
            *(f"{row['ms'][step] * 1000:.0f}" for step in steps),
            f"{row['but_graph_ms'] / measured[0]['but_graph_ms']:.2f}",
        )
        for row in measured
    ]
    return _table(("earlier detections", "points", *steps, "all but the graph, over young"), rows)


def many(found: Results) -> str:
    m = found["many"]
    rows = [(asked, *(f"{row[which]:.1f}" for which in ("p50_ms", "p99_ms"))) for asked, row in m["queries"].items()]
    size = f"{m['objects']:,} objects, {m['bytes'] / 1e9:.1f} GB"
    drain = f"Drain over that with {m['few']:,} objects: {m['drain_to_that_of_few']:.2f}. " if "few" in m else ""
    drain += f"Resident memory at most: {m['rss_mb']:.0f} MB.\n"
    return f"{_table((f'SQLite, {size}', 'p50, ms', 'p99, ms'), rows)}\n{drain}"


def watches(found: Results) -> str:
    w = found["watches"]
    rows = [
        ("watches", w["watches"]),
        ("objects that they noticed meanwhile", f"{w['noticed']:,}"),
        ("alerts per second of processor time, over those without watches", f"{w['ratio']:.3f}"),
    ]
    return _table(("", "measured"), rows)


def decode(found: Results) -> str:
    d = found["decode"]
    rows = [
        (
            version,
            row["n"],
            f"{row['ms_per_packet']:.4f}",
            f"{row['slowest_ms']:.4f}",
            f"{row['fastavro_reader_ms']:.3f}",
            f"{row['ratio_to_fastavro_reader']:.1f}",
        )
        for version, row in [*d["by_schema_version"].items(), ("all", d)]
    ]
    return _table(("schema", "packets", "ms each", "slowest, ms", "`fastavro.reader`, ms", "times faster"), rows)


def rust_decode(found: Results) -> str:
    r = found["rust_decode"]
    kind = "simulated" if r["are_simulated"] else "real"
    rows = [
        ("ours", f"{r['ms_per_packet']:.4f}", f"{r['median_ms']:.4f}", "1"),
        (f"apache-avro {r['apache_avro']} with serde, schema kept", f"{r['rust_ms_per_packet']:.4f}",
         f"{r['rust_median_ms']:.4f}", f"{r['ratio_to_rust']:.1f}"),
    ]  # fmt: skip
    head = (f"{r['packets']} {kind} packets, {r['left_out']} left out", "ms each", "median, ms", "times ours")
    return _table(head, rows)


def rubin(found: Results) -> str:
    r = found["rubin"]
    rows = [
        *(
            (f"{what}: median, 95 %, largest", ", ".join(f"{r[name][q]:,.0f}" for q in ("50", "95", "100")))
            for what, name in (("packets, kB", "kilobytes"), ("points in a light curve", "points"))
        ),
        ("decode: mean, slowest", f"{r['decode_ms']:.2f} ms, {r['decode_slowest_ms']:.1f} ms"),
        ("fastavro alone, mean", f"{r['fastavro_ms']:.0f} ms"),
        ("decode, times faster", f"{r['decode_ratio']:.0f}"),
        ("pipeline with SQLite, one batch at a time", f"{r['replay_alerts_per_second']:,.0f} alerts/s"),
        ("processor time per alert", f"{r['replay_cpu_ms_per_alert']:.2f} ms"),
        ("the plain loop, same packets", f"{r['plain_alerts_per_second']:.0f} alerts/s"),
        ("on the disk per object", f"{r['store_bytes_per_object'] / 1000:.0f} kB"),
    ]
    return _table(("", "measured"), rows)


def classify(found: Results) -> str:
    c = found["classify"]
    eager = c["torch_eager"].get("milliseconds", {})
    columns = ("tensors_ms", "graph_ms", "graph_stacked_ms", "one_call_each_ms", "one_thread_ms", "two_threads_ms")
    rows = [
        (
            length,
            *(f"{row[name]:.3f}" for name in columns),
            f"{eager[f'torch_{length}']:.2f}" if f"torch_{length}" in eager else "",
        )
        for length, row in c["by_length"].items()
    ]
    head = ("points", "tensors", "graph, alone", "graph, of 8", "`classify` of 1", "`classify` of 64", "on two threads",
            "torch eager")  # fmt: skip
    return _table(head, rows)


def mixed(found: Results) -> str:
    m = found["classify"]["mixed"]
    names = {
        "graph_padded_ms": "padded to the longest of 32, as they come",
        "graph_sorted_and_padded_ms": "sorted by length, then padded",
        "graph_one_by_one_ms": "one by one, exact length",
        "graph_stacked_ms": "equal lengths together, up to 8 (ours)",
        "one_thread_ms": "ours with everything around the graph, one thread",
        "two_threads_ms": "the same, two threads",
    }
    return _table(("way", "ms per light curve"), [(words, f"{m[name]:.3f}") for name, words in names.items()])


def images(found: Results) -> str:
    i, other = found["images"], found["images"]["matplotlib"].get("by_length", {})
    rows = [
        (
            length,
            f"{row['alone_ms']:.2f}",
            f"{row['together_ms']:.2f}",
            f"{other[length]['matplotlib_ms']:.1f}" if length in other else "",
        )
        for length, row in i["by_length"].items()
    ]
    return _table(("points", "alone, ms", "of 64 together, ms", "matplotlib, ms"), rows)


def vision(found: Results) -> str:
    networks = found["images"]["networks"]
    if not networks["measured"]:
        return f"Not measured yet: {networks['why']}.\n"
    names = {"swinv2_tiny": "SwinV2-tiny", "small": "small (`configs/vision-small.toml`)"}
    columns = ("onnx_alone_ms", "onnx_together_ms", "torch_alone_ms")
    rows = [
        (words, networks[name]["pixels"], *(f"{networks[name][column]:.1f}" for column in columns))
        for name, words in names.items()
    ]
    return _table(("network", "pixels", "ONNX Runtime, ms", "of four together, ms", "torch eager, ms"), rows)


def store(found: Results) -> str:
    rows = []
    for engine, figures in found["store"]["engines"].items():
        for step in ("merge_new", "merge_known", "record_new", "record_known", "merge_one_by_one", "record_one_by_one"):
            row = figures[step]
            rows.append(
                (
                    engine,
                    step.replace("_", " "),
                    f"{row['alerts_per_second']:,.0f}",
                    f"{row['cpu_ms_per_alert']:.3f}",
                    f"{row['batch_p99_ms']:.1f}",
                )
            )
    return _table(("engine", "step", "alerts/s", "our ms of processor per alert", "batch p99, ms"), rows)


def api(found: Results) -> str:
    a = found["api"]
    rows = [
        (name.removesuffix("_ms"), f"{a[name]:.1f}") for name in ("p50_ms", "p90_ms", "p99_ms", "p999_ms", "max_ms")
    ]
    return _table((f"{a['requests']:,} requests, {a['rate_per_s']:.0f}/s", "ms"), rows)


def memory(found: Results) -> str:
    m = found["million"]
    samples = m["samples"]
    chosen = [samples[round(place * (len(samples) - 1) / 10)] for place in range(11)]
    rows = [(f"{s['objects']:,}", f"{s['alerts']:,}", f"{s['rss_mb']:.0f}", f"{s['store_mb']:,.0f}") for s in chosen]
    each = m["cpu_ms_per_alert_first_tenth"], m["cpu_ms_per_alert_last_tenth"]
    return _table(("objects", "alerts", "resident memory, MB", "store, MB"), rows) + (
        f"\nProcessor time per alert: {each[0]:.2f} ms over the first tenth of the objects, {each[1]:.2f} ms over the"
        f" last. An object takes {m['store_bytes_per_object']:.0f} bytes on disk; its last packet as fastavro's Python"
        f" objects, without images, takes {m['baseline_bytes_per_object']:,.0f} bytes of memory.\n"
    )


def gpu(found: Results) -> str:
    g = found["gpu"]
    names = [name for name in g["by_shape"][0] if name not in ("batch", "length")]
    rows = [(row["batch"], row["length"], *(f"{row[name]:,.0f}" for name in names)) for row in g["by_shape"]]
    mixed = ", ".join(
        f"{name} {row['per_second']:,.0f} in {row['runs']} runs ({row['padding']:.0%} padding)"
        for name, row in g["mixed"].items()
        if name != "light_curves"
    )
    return (
        f"{g['device']}, light curves per second.\n\n"
        + _table(("batch", "points", *(name.replace("_", ", ") for name in names)), rows)
        + f"\n{g['mixed']['light_curves']:,} light curves of mixed lengths through `classify`, per second: {mixed}.\n"
    )


def replicas(found: Results) -> str:
    r = found["replicas"]
    rows = [
        (
            way,
            count,
            f"{row['alerts_per_second']:,.0f}",
            f"{row['ratio_to_one']:.2f}",
            *(f"{row[f'{who}_cpu_ms_per_alert']:.2f}" for who in ("service", "store", "broker")),
        )
        for way in ("together", "apart")
        for count, row in r[way].items()
    ]
    head = ("way", "replicas", "alerts/s", "over one replica", "service, ms of processor per alert", "PostgreSQL",
            "broker")  # fmt: skip
    return _table(head, rows) + (
        f"\n{r['machine']['cpu']}, {r['machine']['cores']} cores; load average before it began:"
        f" {r['load_average_before']:.1f}.\n"
    )


def ratios(found: Results) -> str:
    return _table(("ratio", "kept"), [(f"`{name}`", f"{r:.2f}") for name, r in found["regression"]["ratios"].items()])


# name in the page -> how to make it, and the results that it needs
TABLES: Final[dict[str, tuple[Callable[[Results], str], tuple[str, ...]]]] = {
    "machine": (machine, ("stream",)),
    "goals": (goals, ("stream", "api", "million", "decode")),
    "stream": (stream, ("stream",)),
    "stages": (stages, ("stream",)),
    "skies": (skies, ("skies",)),
    "ages": (ages, ("ages",)),
    "many": (many, ("many",)),
    "watches": (watches, ("watches",)),
    "decode": (decode, ("decode",)),
    "rust_decode": (rust_decode, ("rust_decode",)),
    "rubin": (rubin, ("rubin",)),
    "classify": (classify, ("classify",)),
    "mixed": (mixed, ("classify",)),
    "images": (images, ("images",)),
    "vision": (vision, ("images",)),
    "store": (store, ("store",)),
    "api": (api, ("api",)),
    "memory": (memory, ("million",)),
    "gpu": (gpu, ("gpu",)),
    "replicas": (replicas, ("replicas",)),
    "ratios": (ratios, ("regression",)),
}


def _milliseconds(figures: dict[str, float], *names: str) -> str:
    return ", ".join(f"{figures[name]:.0f} ms" for name in names)


def _table(head: Sequence[object], rows: Iterable[Sequence[object]]) -> str:
    lines = [head, ["---" for _ in head], *rows]
    return "".join(f"| {' | '.join(map(str, line))} |\n" for line in lines)


if __name__ == "__main__":
    main()
