"""What is compiled must run wherever the package is installed."""

import subprocess
import sys
from pathlib import Path

import service
from service.jit import jit


def test_a_function_that_can_not_be_kept_on_disk_is_compiled_all_the_same() -> None:
    namespace: dict[str, object] = {}
    exec("def double(number): return 2 * number", namespace)  # no file: numba has nowhere to keep its code
    double = jit(namespace["double"])
    assert double(21) == 42
    assert double.stats.cache_path is None


def test_machine_code_is_kept_where_the_environment_says(tmp_path: Path) -> None:
    script = "import service.photometry.union as u; print(u.choose.stats.cache_path)"
    environment = {"NUMBA_CACHE_DIR": str(tmp_path), "PYTHONPATH": str(Path(service.__file__).parents[1])}
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, timeout=60)
    assert done.stdout.startswith(str(tmp_path)), done.stderr
