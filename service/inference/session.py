"""One ONNX Runtime session for a bundle's graph; the device that was asked for is verified."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from service.config import Device
from service.errors import AlertClassifierError
from service.inference.bundle import MODEL, Bundle, BundleError
from service.inference.stochastic import draw_all

log = logging.getLogger(__name__)

CPU: Final = "CPUExecutionProvider"
CUDA: Final = "CUDAExecutionProvider"

# TF32 keeps ten bits of a float32 product, so answers would depend on the device. For speed there are float16 bundles.
_CUDA_OPTIONS: Final = {"use_tf32": "0"}

_NUMPY_TYPES: Final = {
    "tensor(float)": np.dtype(np.float32),
    "tensor(double)": np.dtype(np.float64),
    "tensor(float16)": np.dtype(np.float16),
    "tensor(int64)": np.dtype(np.int64),
    "tensor(int32)": np.dtype(np.int32),
    "tensor(int8)": np.dtype(np.int8),
    "tensor(uint8)": np.dtype(np.uint8),
    "tensor(bool)": np.dtype(np.bool_),
}


class DeviceError(AlertClassifierError, RuntimeError):
    """The requested device is not available."""


class Session:
    """A graph ready to run; one session serves any number of calling threads.

    `provider` is the ONNX Runtime execution provider in force; `embedding_size` is D.
    """

    def __init__(
        self, bundle: Bundle, device: Device, sample: Mapping[str, NDArray[Any]], bound: bool | None = None
    ) -> None:
        """`sample` holds one light curve's inputs, without a batch axis, to test the graph with. `bound`: use ONNX
        Runtime's IO binding; by default only on a GPU, where it saves copies.

        Raises DeviceError if `cuda` was requested and is not available, BundleError if the graph can't be loaded or its
        inputs and outputs don't match the preprocessing and the manifest.
        """
        self._bundle = bundle
        self._session = _open(bundle, device)
        self.provider: str = self._session.get_providers()[0]
        self._place = "cuda" if self.provider == CUDA else "cpu"
        self._bound = self.provider == CUDA if bound is None else bound
        outputs = bundle.manifest.outputs
        self._outputs = [outputs["logits"], outputs["embedding"]]
        self._noise = self._draw_noise()
        self._check_inputs(sample)
        self.embedding_size = self._check_outputs(sample)

    def run(self, inputs: dict[str, NDArray[Any]]) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
        """(logits (B, C), embedding (B, D)) of inputs with a batch axis in front; logits of stochastic passes are
        (B, P, C). Releases the interpreter lock.
        """
        if self._noise:
            inputs = inputs | self._noise
        logits, embedding = self._run_bound(inputs) if self._bound else self._session.run(self._outputs, inputs)
        return logits, embedding

    def _run_bound(self, inputs: dict[str, NDArray[Any]]) -> list[NDArray[np.floating]]:
        """Run the graph with inputs and outputs in the device's memory."""
        binding = self._session.io_binding()
        for name, array in inputs.items():
            binding.bind_ortvalue_input(name, ort.OrtValue.ortvalue_from_numpy(array, self._place, 0))
        for name in self._outputs:
            binding.bind_output(name, self._place, 0)
        self._session.run_with_iobinding(binding)
        outputs: list[NDArray[np.floating]] = binding.copy_outputs_to_cpu()
        return outputs

    def _draw_noise(self) -> dict[str, NDArray[np.float32]]:
        """The noise of all passes: name of the graph's input -> (passes, ...)."""
        stochastic = self._bundle.manifest.stochastic
        if stochastic is None:
            return {}
        taken = {node.name: node for node in self._session.get_inputs()}
        for noise in stochastic.noise:
            node = taken.get(noise.input)
            if node is None:
                raise self._error(f"takes no input {noise.input} (manifest.stochastic); it takes {', '.join(taken)}")
            if node.type != "tensor(float)" or not all(isinstance(axis, int) for axis in node.shape[1:]):
                raise self._error(
                    f"takes noise {noise.input} as {node.type} {_shape(node.shape)}, not as float32 with every axis but"
                    " the first fixed"
                )
        return draw_all(stochastic, {name: node.shape[1:] for name, node in taken.items()})

    def _check_inputs(self, sample: Mapping[str, NDArray[Any]]) -> None:
        wanted = {node.name: node for node in self._session.get_inputs() if node.name not in self._noise}
        if wanted.keys() != sample.keys():
            raise self._error(
                f"takes the inputs {', '.join(sorted(wanted))}, but preprocessing"
                f" {self._bundle.manifest.preprocessing.id} makes {', '.join(sorted(sample))}"
            )
        for name, node in wanted.items():
            array = sample[name]
            if _NUMPY_TYPES.get(node.type) != array.dtype:
                raise self._error(f"takes input {name} as {node.type}, but the preprocessing makes {array.dtype}")
            if len(node.shape) != array.ndim + 1 or any(
                isinstance(axis, int) and axis != length
                for axis, length in zip(node.shape[1:], array.shape, strict=True)
            ):
                raise self._error(
                    f"takes input {name} of shape {_shape(node.shape)}, but the preprocessing makes"
                    f" {_shape(('batch', *array.shape))}"
                )
            if isinstance(node.shape[0], int):
                raise self._error(f"has a fixed batch of {node.shape[0]} in input {name}: that axis must be dynamic")

    def _check_outputs(self, sample: Mapping[str, NDArray[Any]]) -> int:
        """Run two light curves at once and check the outputs. Returns D."""
        names = [node.name for node in self._session.get_outputs()]
        missing = [name for name in self._outputs if name not in names]
        if missing:
            raise self._error(f"has no output {', '.join(missing)} (manifest.outputs); it has {', '.join(names)}")
        try:
            logits, embedding = self.run({name: np.stack((array, array)) for name, array in sample.items()})
        except Exception as error:  # ONNX Runtime's errors have no common base but Exception
            raise self._error(f"fails on a sample light curve: {_first_line(error)}") from error
        manifest = self._bundle.manifest
        passes = (manifest.stochastic.passes,) if manifest.stochastic else ()
        if np.shape(logits) != (2, *passes, len(manifest.classes)):
            raise self._error(
                f"gives {self._outputs[0]} of shape {_shape(np.shape(logits))} for two light curves;"
                f" the {'passes and the ' if passes else ''}taxonomy"
                f" ask{'' if passes else 's'} for {_shape((2, *passes, len(manifest.classes)))}"
            )
        if np.ndim(embedding) != 2 or len(embedding) != 2:
            raise self._error(f"gives {self._outputs[1]} of shape {_shape(np.shape(embedding))}, not (2, D)")
        if not (np.isfinite(logits).all() and np.isfinite(embedding).all()):
            raise self._error("answers a sample light curve with numbers that are not finite")
        size = int(embedding.shape[1])
        known = manifest.out_of_distribution
        if known and len(known.means[0]) != size:
            raise self._error(f"gives embeddings of {size} values, out_of_distribution.means has {len(known.means[0])}")
        return size

    def _error(self, what: str) -> BundleError:
        return BundleError(f"{MODEL} of {self._bundle.folder} {what}")


def _open(bundle: Bundle, device: Device) -> ort.InferenceSession:
    if device is Device.CPU:
        return _on(bundle, CPU)
    if CUDA in ort.get_available_providers():
        session = _on(bundle, CUDA)
        if session.get_providers()[0] == CUDA:
            return session
        why = "ONNX Runtime could not start CUDA (its log says why: driver, CUDA or cuDNN)"
    else:
        why = "the installed onnxruntime has no CUDA provider (install the extra 'gpu' instead of 'cpu')"
    if device is Device.CUDA:
        raise DeviceError(f"model.device is cuda, but {why}")
    log.info("running on CPU: %s", why)
    return _on(bundle, CPU)


def session_options() -> ort.SessionOptions:
    """Options of every session; `python -m benchmarks.classify` compares them with others."""
    options = ort.SessionOptions()
    options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    # Graphs are small: the calling threads keep the cores busy, one batch each, not threads within an operation.
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    # Caching the memory layout per input shape saves 3 to 12 % of time and costs 10 MB for a thousand shapes.
    options.enable_mem_pattern = True
    return options


def _on(bundle: Bundle, provider: str) -> ort.InferenceSession:
    """A session on one provider; ONNX Runtime may silently choose another, so the caller must check."""
    if provider == CUDA and hasattr(ort, "preload_dlls"):
        ort.preload_dlls()  # finds CUDA and cuDNN where pip put them
    try:
        session = ort.InferenceSession(
            bundle.graph,
            session_options(),
            providers=[provider] if provider == CPU else [(provider, _CUDA_OPTIONS), CPU],
        )
    except Exception as error:  # ONNX Runtime's errors have no common base but Exception
        raise BundleError(f"{MODEL} of {bundle.folder} is not a graph that can be run: {_first_line(error)}") from error
    session.disable_fallback()  # else a failed run is silently repeated on another provider
    return session


def _shape(shape: tuple[Any, ...] | list[Any]) -> str:
    return f"({', '.join(map(str, shape))})"


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]
