from __future__ import annotations

from lab.agent import parse_metrics

TEXT = """\
# HELP registryd_requests_total Requests by outcome.
# TYPE registryd_requests_total counter
registryd_requests_total{outcome="local",kind="blob"} 3.0
registryd_requests_total{outcome="peer",kind="blob"} 4.0
registryd_requests_total{outcome="peer",kind="manifest"} 5.0
"""


def test_samples_are_summed_over_the_labels_that_were_not_asked_for() -> None:
    metrics = parse_metrics(TEXT)
    assert metrics.total("registryd_requests_total") == 12
    assert metrics.total("registryd_requests_total", outcome="peer") == 9
    assert metrics.total("registryd_requests_total", outcome="peer", kind="blob") == 4
    assert metrics.total("registryd_requests_total", outcome="miss") == 0
