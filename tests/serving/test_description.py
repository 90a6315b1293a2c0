"""The committed description is that of the app, and declares the one error shape everywhere."""

import json

from serving.app import bare_app
from serving.openapi import COMMITTED, rendered

HEALTH = ("/health", "/v1/health", "/v1/health/ready")  # a 503 says what is down


def test_the_committed_description_matches() -> None:
    assert COMMITTED.read_bytes() == rendered(), "run python -m serving.openapi and commit it"


def test_no_route_declares_another_error_shape() -> None:
    description = bare_app().openapi()
    assert "HTTPValidationError" not in json.dumps(description)
    for path, operations in description["paths"].items():
        for operation in operations.values():
            for status, response in operation["responses"].items():
                if status >= "400" and path not in HEALTH:
                    schema = response["content"]["application/json"]["schema"]
                    assert schema == {"$ref": "#/components/schemas/ErrorResponse"}, path
