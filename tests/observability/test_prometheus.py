import pytest
from prometheus_client.parser import text_string_to_metric_families

from registryd.observability.prometheus import MetricsPage


def as_prometheus_reads(page: MetricsPage) -> dict[str, tuple[str, dict[tuple[tuple[str, str], ...], float]]]:
    """By the name of each sample: the type of its family, and the values by labels."""
    found: dict[str, tuple[str, dict[tuple[tuple[str, str], ...], float]]] = {}
    for family in text_string_to_metric_families(page.render().decode()):
        for sample in family.samples:
            values = found.setdefault(sample.name, (family.type, {}))[1]
            values[tuple(sorted(sample.labels.items()))] = sample.value
    return found


def test_each_type_is_read_as_what_it_is() -> None:
    page = MetricsPage()
    page.counter("eaten_total", "How many.").inc(2.5)
    page.gauge("full", "How full.").set(-1)
    page.read("age", "How old.", lambda: 7)
    page.read("steps_total", "How far.", lambda: 8)
    assert as_prometheus_reads(page) == {
        "eaten_total": ("counter", {(): 2.5}),
        "full": ("gauge", {(): -1}),
        "age": ("gauge", {(): 7}),
        "steps_total": ("counter", {(): 8}),
    }


def test_a_series_without_labels_is_there_from_the_start_and_one_with_labels_from_its_first_mention() -> None:
    page = MetricsPage()
    page.counter("alone_total", "One.")
    family = page.counters("many_total", "Some.", "kind", "size")
    assert as_prometheus_reads(page) == {"alone_total": ("counter", {(): 0})}
    family.labels("a", "b").inc()
    family.labels("a", "b").inc()
    assert as_prometheus_reads(page)["many_total"] == ("counter", {(("kind", "a"), ("size", "b")): 2})


def test_a_histogram_counts_what_is_at_most_its_bound() -> None:
    page = MetricsPage()
    histogram = page.histograms("seconds", "How long.", bounds=(0.5, 1, 2)).labels()
    for value in (0.5, 0.6, 1, 100):
        histogram.observe(value)
    read = as_prometheus_reads(page)
    buckets = {labels[0][1]: value for labels, value in read["seconds_bucket"][1].items()}
    assert buckets == {"0.5": 1, "1.0": 3, "2.0": 3, "+Inf": 4}
    assert (read["seconds_count"][1][()], read["seconds_sum"][1][()]) == (4, 102.1)
    assert read["seconds_bucket"][0] == "histogram"


@pytest.mark.parametrize("value", ['say "no"', "C:\\new", "two\nlines", "name{a=b} 1", "Grüße"])
def test_any_text_may_be_the_value_of_a_label(value: str) -> None:
    page = MetricsPage()
    page.gauges("seen", "What.", "text").labels(value).set(1)
    assert as_prometheus_reads(page)["seen"][1] == {(("text", value),): 1}


def test_labels_that_do_not_fit_are_a_bug() -> None:
    with pytest.raises(ValueError, match="kind"):
        MetricsPage().counters("many_total", "Some.", "kind").labels("a", "b")


def test_large_and_small_numbers_are_read_as_they_are() -> None:
    page = MetricsPage()
    page.gauge("large", "Bytes.").set(2**60)
    page.gauge("small", "Seconds.").set(1e-7)
    read = as_prometheus_reads(page)
    assert (read["large"][1][()], read["small"][1][()]) == (2**60, 1e-7)
