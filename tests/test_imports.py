"""Nothing in the serving path imports torch, or anything else that only training needs."""

from __future__ import annotations

import pkgutil
import subprocess
import sys

import service

TRAINING_ONLY = ("torch", "sklearn", "pandas", "lightgbm", "onnx", "matplotlib", "model_export")


def modules() -> list[str]:
    return sorted(module.name for module in pkgutil.walk_packages(service.__path__, "service."))


def test_every_module_of_the_service_imports_and_none_brings_torch() -> None:
    names = modules()
    assert "service.inference.classifier" in names
    # in a process of its own: what other tests have imported must not count
    program = "import importlib, sys\n"
    program += "for name in sys.argv[1:]: importlib.import_module(name)\n"
    program += f"print(*(name for name in {TRAINING_ONLY} if name in sys.modules))"
    done = subprocess.run([sys.executable, "-c", program, *names], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == ""
