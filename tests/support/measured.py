"""A request's stopwatch with given times."""

from app.telemetry.stopwatch import Stage, Stopwatch


class Measured(Stopwatch):
    """The stages that begun, with their seconds."""

    def __init__(self, seconds: dict[Stage, float]) -> None:
        super().__init__()
        self._seconds = seconds

    def seconds(self) -> dict[Stage, float]:
        return self._seconds
