"""Sessions that remember how they were run."""

from pathlib import Path
from typing import Any, NamedTuple

from numpy.typing import NDArray

from app.engine.session import Device, open_session
from app.store.manifest import GraphName

Feeds = dict[str, NDArray[Any]]


class Run(NamedTuple):
    """One run of a graph: the values of its inputs and the shapes of its outputs, by name."""

    graph: GraphName
    inputs: Feeds
    outputs: dict[str, tuple[int, ...]]


class Recorder:
    """Pass `open` to an Engine as its `open_session`."""

    def __init__(self) -> None:
        self.runs: list[Run] = []

    def open(self, path: Path, name: GraphName, device: Device) -> Any:
        return _Session(open_session(path, name, device), name, self.runs)

    def inputs(self, name: str) -> list[NDArray[Any]]:
        """The values of one input, run by run."""
        return [run.inputs[name] for run in self.runs if name in run.inputs]


class _Session:
    def __init__(self, session: Any, name: GraphName, runs: list[Run]) -> None:
        self._session, self._name, self._runs = session, name, runs

    def io_binding(self) -> Any:
        return _Binding(self._session.io_binding())

    def run_with_iobinding(self, binding: Any, options: Any) -> None:
        self._session.run_with_iobinding(binding.inner, options)
        values = zip(binding.outputs, binding.inner.get_outputs(), strict=True)
        self._runs.append(Run(self._name, binding.inputs, {name: tuple(value.shape()) for name, value in values}))


class _Binding:
    def __init__(self, inner: Any) -> None:
        self.inner, self.inputs, self.outputs = inner, Feeds(), list[str]()

    def bind_cpu_input(self, name: str, value: NDArray[Any]) -> None:
        self.inputs[name] = value
        self.inner.bind_cpu_input(name, value)

    def bind_ortvalue_input(self, name: str, value: Any) -> None:
        self.inputs[name] = value.numpy()
        self.inner.bind_ortvalue_input(name, value)

    def bind_output(self, name: str, *where: Any) -> None:
        self.outputs.append(name)
        self.inner.bind_output(name, *where)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)
