"""What one scrape of ``/metrics`` holds."""

from collections.abc import Mapping
from typing import NamedTuple

from prometheus_client.parser import text_string_to_metric_families

from tests.api.conftest import Running


class Scrape(NamedTuple):
    text: str
    samples: Mapping[tuple[str, frozenset[tuple[str, str]]], float]

    def value(self, name: str, **labels: str) -> float:
        return self.samples[name, frozenset(labels.items())]


def parsed(text: str) -> Scrape:
    return Scrape(
        text,
        {
            (sample.name, frozenset(sample.labels.items())): sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        },
    )


async def scrape(server: Running) -> Scrape:
    async with server.client() as stranger:
        return parsed((await stranger.get("/metrics")).text)
