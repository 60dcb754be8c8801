"""CUDA-graph capture and replay of an iteration: a GPU runs it without Python between its kernels."""

import logging
from collections.abc import Callable
from typing import Generic, TypeVar

import torch

from .forward_model import ForwardModel, is_recordable

__all__ = ["CudaGraphStep"]

logger = logging.getLogger(__name__)

WARM_UP = 2  # steps before the recording, in which libraries make their plans and buffers

Result = TypeVar("Result", bound=torch.Tensor | None)


class CudaGraphStep(Generic[Result]):
    """One step of an iteration, without arguments, that changes its tensors in place and may return one.

    On a CUDA GPU the first `WARM_UP` steps run as they are, the next one is recorded as a CUDA graph, and from then on
    the graph is replayed. On a CPU every step runs as it is; so it does where it cannot be recorded, for whatever
    reason.

    A replay reads and writes the memory of the recording. The step's tensors must therefore be changed in place, never
    replaced; numbers that Python holds keep their value of the recording; and a returned tensor is the same at each
    call, overwritten by the next one (`own_copy`).

    Parameters
    ----------
    step : callable
        Without arguments; returns a tensor or None.
    device : torch.device
        Where the step computes.
    model : ForwardModel
        What the step projects with. Only a ``recordable`` model is tried: a library that synchronises with the GPU by
        itself cannot be recorded.
    """

    def __init__(self, step: Callable[[], Result], device: torch.device, model: ForwardModel):
        self._step, self._device = step, device
        self._steps_run = 0
        self._possible = device.type == "cuda" and is_recordable(model)
        self._graph: torch.cuda.CUDAGraph | None = None
        self._result: Result

    def __call__(self) -> Result:
        """Run, record or replay one step, and return what it returns."""
        if self._graph is None and self._possible and self._steps_run >= WARM_UP:
            self._record()
        if self._graph is not None:
            self._graph.replay()
            return self._result
        self._steps_run += 1
        if not self._possible:
            return self._step()
        # Autograd remembers the stream that it ran on, and the default one cannot be recorded.
        stream: torch.cuda.Stream = torch.cuda.Stream(self._device)
        stream.wait_stream(torch.cuda.current_stream(self._device))
        with torch.cuda.stream(stream):
            result = self._step()
        torch.cuda.current_stream(self._device).wait_stream(stream)
        return result

    def own_copy(self, result: torch.Tensor) -> torch.Tensor:
        """A result that later steps do not overwrite: a copy where the step is replayed, else the result itself."""
        return result if self._graph is None else result.clone()

    def _record(self) -> None:
        graph = torch.cuda.CUDAGraph()
        try:
            with torch.cuda.device(self._device), torch.cuda.graph(graph, capture_error_mode="thread_local"):
                result = self._step()
        except RuntimeError as error:
            logger.info("steps on %s are not recorded: %s", self._device, error)
            self._possible = False
            return
        self._graph, self._result = graph, result
