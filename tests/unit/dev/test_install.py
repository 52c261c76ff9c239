"""What the cluster holds before any tenant comes."""

import base64
from pathlib import Path

from nephos_dev import install
from nephos_dev.images import BuiltImage


def test_webhooks_are_called_at_this_clouds_address_under_their_own_path() -> None:
    configuration = {
        "kind": "ValidatingWebhookConfiguration",
        "webhooks": [
            {
                "name": "servers.nephos.cloud",
                "failurePolicy": "Fail",
                "clientConfig": {"service": {"name": "nephos-webhook", "namespace": "nephos-system", "path": "/srv"}},
            }
        ],
    }
    (webhook,) = install.point_at(configuration, "https://172.20.0.1:20006", b"PEM")["webhooks"]
    assert webhook["clientConfig"] == {
        "url": "https://172.20.0.1:20006/srv",
        "caBundle": base64.b64encode(b"PEM").decode(),
    }
    assert webhook["failurePolicy"] == "Fail"


def test_everyone_who_can_log_in_reads_the_catalog_and_nobody_writes_it() -> None:
    _, role, binding = install.catalog_reader()
    assert {verb for rule in role["rules"] for verb in rule["verbs"]} == {"get", "list", "watch"}
    assert [subject["name"] for subject in binding["subjects"]] == ["system:authenticated"]


def test_the_image_tiny_is_named_by_file_and_hash() -> None:
    flavor, image = install.tiny(BuiltImage(path=Path("/cache/images/t.qcow2"), sha256="ab" * 32, virtual_size_bytes=1))
    assert flavor["spec"] == {"vcpus": 1, "memoryMiB": 128, "diskGiB": 1}
    assert image["spec"]["source"] == {"url": "file:///cache/images/t.qcow2", "sha256": "ab" * 32}
