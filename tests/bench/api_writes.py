"""API writes, counted where they arrive: by the API server's own metrics."""

from collections import Counter

from prometheus_client.parser import text_string_to_metric_families

from nephos_dev.cluster import Cluster

_WRITES = frozenset({"POST", "PUT", "PATCH", "APPLY", "DELETE"})
_NOT_COUNTED = frozenset({"leases", "events", "tokenreviews", "subjectaccessreviews"})


def count(cluster: Cluster) -> Counter[str]:
    """Return how many writes the API server has taken, by verb and resource (`PATCH servers/status`)."""
    client = cluster.client()
    with client.session:
        text = client.session.get(f"{client.url}/metrics", timeout=30).text
    found: Counter[str] = Counter()
    for family in text_string_to_metric_families(text):
        if family.name != "apiserver_request":
            continue
        for sample in family.samples:
            labels = sample.labels
            if labels["verb"] not in _WRITES or labels["resource"] in _NOT_COUNTED or labels.get("dry_run"):
                continue
            if not labels["code"].startswith("2"):
                continue
            subresource = f"/{labels['subresource']}" if labels["subresource"] else ""
            found[f"{labels['verb']} {labels['resource']}{subresource}"] += int(sample.value)
    return found
