"""Counters, gauges and histograms, and the page that Prometheus reads them from: its text format, version 0.0.4.

Prometheus' own client library does the same, and brings an HTTP server and more along: 1 MiB of an idle agent.
https://prometheus.io/docs/instrumenting/exposition_formats/
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING, Final, Generic, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"


@dataclass(frozen=True, slots=True)
class Sample:
    """One number on the page."""

    name: str
    labels: Mapping[str, str]
    value: float

    def line(self) -> str:
        labels = ",".join(f'{name}="{_quoted(value)}"' for name, value in sorted(self.labels.items()))
        return f"{self.name}{{{labels}}} {self.value}\n" if labels else f"{self.name} {self.value}\n"


class Series(Protocol):
    """The values under one set of labels."""

    def samples(self, name: str, labels: Mapping[str, str]) -> Iterator[Sample]:
        """Its numbers now, under the name of its family."""


class Counter:
    """Only grows."""

    __slots__ = ("_value",)

    def __init__(self) -> None:
        self._value = 0.0

    def inc(self, by: float = 1) -> None:
        self._value += by

    def samples(self, name: str, labels: Mapping[str, str]) -> Iterator[Sample]:
        yield Sample(name, labels, self._value)


class Gauge:
    """Goes up and down."""

    __slots__ = ("_value",)

    def __init__(self) -> None:
        self._value = 0.0

    def set(self, value: float) -> None:
        self._value = float(value)

    def samples(self, name: str, labels: Mapping[str, str]) -> Iterator[Sample]:
        yield Sample(name, labels, self._value)


@dataclass(frozen=True, slots=True)
class ReadGauge:
    """A gauge whose value a function returns whenever the page is read."""

    read: Callable[[], float]

    def samples(self, name: str, labels: Mapping[str, str]) -> Iterator[Sample]:
        yield Sample(name, labels, float(self.read()))


class Histogram:
    """How many values were at most as large as each of these bounds, which ascend."""

    __slots__ = ("_bounds", "_counts", "_sum")

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self._sum = 0.0

    def observe(self, value: float) -> None:
        self._counts[bisect_left(self._bounds, value)] += 1
        self._sum += value

    def samples(self, name: str, labels: Mapping[str, str]) -> Iterator[Sample]:
        bounds = [*(str(float(bound)) for bound in self._bounds), "+Inf"]
        for bound, count in zip(bounds, accumulate(self._counts), strict=True):
            yield Sample(f"{name}_bucket", {**labels, "le": bound}, float(count))
        yield Sample(f"{name}_count", labels, float(sum(self._counts)))
        yield Sample(f"{name}_sum", labels, self._sum)


_S = TypeVar("_S", bound=Series)


class Family(Generic[_S]):
    """The series of one name."""

    def __init__(self, name: str, labels: Sequence[str], make: Callable[[], _S]) -> None:
        self._name = name
        self._labels = labels
        self._make = make
        self._series: dict[tuple[str, ...], _S] = {}

    def labels(self, *values: str) -> _S:
        """The series whose labels have these values; it is on the page from now on."""
        if len(values) != len(self._labels):
            raise ValueError(f"the labels of {self._name} are {self._labels}")
        if values not in self._series:
            self._series[values] = self._make()
        return self._series[values]

    def samples(self) -> Iterator[Sample]:
        for values, series in self._series.items():
            yield from series.samples(self._name, dict(zip(self._labels, values, strict=True)))


class MetricsPage:
    """Families, in the order in which they were made. Names of counters end with _total."""

    def __init__(self) -> None:
        self._families: list[tuple[str, Callable[[], Iterator[Sample]]]] = []

    def counters(self, name: str, about: str, *labels: str) -> Family[Counter]:
        return self._add("counter", name, about, Family(name, labels, Counter))

    def gauges(self, name: str, about: str, *labels: str) -> Family[Gauge]:
        return self._add("gauge", name, about, Family(name, labels, Gauge))

    def histograms(self, name: str, about: str, *labels: str, bounds: Sequence[float]) -> Family[Histogram]:
        return self._add("histogram", name, about, Family(name, labels, lambda: Histogram(bounds)))

    def counter(self, name: str, about: str) -> Counter:
        return self.counters(name, about).labels()

    def gauge(self, name: str, about: str) -> Gauge:
        return self.gauges(name, about).labels()

    def read(self, name: str, about: str, reading: Callable[[], float]) -> None:
        """A family of one series, whose value is asked for whenever the page is read."""
        kind = "counter" if name.endswith("_total") else "gauge"
        self._add(kind, name, about, Family(name, (), lambda: ReadGauge(reading))).labels()

    def samples(self) -> Iterator[Sample]:
        for _, samples in self._families:
            yield from samples()

    def render(self) -> bytes:
        """The page."""
        return "".join(
            head + "".join(sample.line() for sample in samples()) for head, samples in self._families
        ).encode()

    def _add(self, kind: str, name: str, about: str, family: Family[_S]) -> Family[_S]:
        self._families.append((f"# HELP {name} {about}\n# TYPE {name} {kind}\n", family.samples))
        return family


def _quoted(value: str) -> str:
    return value.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")
