"""Steps that repeat: on a CUDA GPU recorded once and then replayed, without Python or launches in between."""

import logging
from collections.abc import Callable

import torch

__all__ = ["CudaGraphStep"]

logger = logging.getLogger(__name__)

WARM_UP = 2  # steps before the recording, in which libraries make their plans and buffers


class CudaGraphStep:
    """A step without arguments that changes its tensors in place, and may return one.

    On a CUDA GPU the first steps run as they are, the next one is recorded as a CUDA graph, and from then on the graph is replayed. The tensors must
    stay where they are; numbers that Python holds are those of the recording. Where a step cannot be recorded, for whatever reason, it goes on as
    it is. On a CPU every step runs as it is.

    Parameters
    ----------
    step : callable
    device : torch.device
    model : ForwardModel
        The step projects with; recorded are those that say they are ``recordable``: a library that waits for the GPU by itself cannot be.
    """

    def __init__(self, step: Callable, device: torch.device, model):
        self._step, self._device, self._done = step, device, 0
        self._possible, self._graph, self._result = (
            device.type == "cuda" and getattr(model, "recordable", False),
            None,
            None,
        )

    def __call__(self):
        if self._graph is None and self._possible and self._done >= WARM_UP:
            self._record()
        if self._graph is not None:
            self._graph.replay()
            return self._result
        self._done += 1
        if not self._possible:
            return self._step()
        stream = torch.cuda.Stream(
            self._device
        )  # autograd remembers the stream it ran on, and the default one cannot be recorded
        stream.wait_stream(torch.cuda.current_stream(self._device))
        with torch.cuda.stream(stream):
            result = self._step()
        torch.cuda.current_stream(self._device).wait_stream(stream)
        return result

    def own(self, result):
        """A result that later steps do not change."""
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
