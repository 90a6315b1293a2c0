"""The REST registry against answers in the shape of MLflow's server, over a transport of ours."""

from collections.abc import Callable
from pathlib import Path

import httpx2
import pytest

from learning.registry import RestModelRegistry, SqlModelRegistry, bundle_folder, open_registry
from market.errors import ModelArtefactError, ModelNotFoundError, StorageError

Handler = Callable[[httpx2.Request], httpx2.Response]


def server(artifact_uri: str) -> Handler:
    """Return a handler that knows one model with one version and two pages of names."""
    version = {
        "name": "barrier_h4",
        "version": "3",
        "run_id": "ab" * 16,
        "source": "models:/m-0123456789abcdef0123456789abcdef",
        "status": "READY",
        "tags": [{"key": "wavehouse.kind", "value": "xgboost"}],
        "aliases": ["champion"],
    }
    missing = {"error_code": "RESOURCE_DOES_NOT_EXIST", "message": "not found: it"}

    def answer(request: httpx2.Request) -> httpx2.Response:  # noqa: PLR0911 - a route a line
        path, query = request.url.path.removeprefix("/api/2.0/mlflow/"), request.url.params
        match path:
            case "registered-models/search" if "page_token" not in query:
                body = {"registered_models": [{"name": "b"}], "next_page_token": "t"}
                return httpx2.Response(200, json=body)
            case "registered-models/search":
                return httpx2.Response(200, json={"registered_models": [{"name": "a"}]})
            case "registered-models/alias" if query["alias"] == "champion":
                return httpx2.Response(200, json={"model_version": version})
            case "registered-models/alias":  # what the server says of an alias that is not there
                body = {"error_code": "INVALID_PARAMETER_VALUE", "message": "alias not found."}
                return httpx2.Response(400, json=body)
            case "registered-models/get" if query["name"] == "barrier_h4":
                aliases = [{"alias": "champion", "version": "3"}]
                return httpx2.Response(200, json={"registered_model": {"aliases": aliases}})
            case "model-versions/get" if query["version"] == "3":
                return httpx2.Response(200, json={"model_version": version})
            case "model-versions/search":
                return httpx2.Response(200, json={"model_versions": [version]})
            case "model-versions/get-download-uri":
                return httpx2.Response(200, json={"artifact_uri": artifact_uri})
            case _:
                return httpx2.Response(404, json=missing)

    return answer


def registry(handler: Handler) -> RestModelRegistry:
    return RestModelRegistry("http://mlflow:5000/", transport=httpx2.MockTransport(handler))


@pytest.fixture
def artefact(tmp_path: Path) -> Path:
    folder = tmp_path / "a model" / "artifacts" / "bundle"
    folder.mkdir(parents=True)
    (folder / "bundle.json").write_text("{}")
    return tmp_path / "a model"


def test_alias_and_version_lead_to_the_shared_folder(artefact: Path) -> None:
    rest = registry(server(artefact.as_uri()))
    found = rest.by_alias("barrier_h4", "champion")
    assert (found.name, found.version, found.run_id) == ("barrier_h4", 3, "ab" * 16)
    assert found.artifact_path == str(artefact / "artifacts" / "bundle")
    assert found.tags == {"wavehouse.kind": "xgboost"}
    assert rest.by_version("barrier_h4", 3) == found
    assert list(rest.versions("barrier_h4")) == [found]
    assert rest.aliases("barrier_h4") == {"champion": 3}
    assert rest.aliases("nothing") == {}
    assert rest.names() == ["a", "b"]
    rest.close()


def test_what_is_not_there_is_named(artefact: Path) -> None:
    rest = registry(server(artefact.as_uri()))
    with pytest.raises(ModelNotFoundError, match=r"barrier_h4@challenger: .*alias not found"):
        rest.by_alias("barrier_h4", "challenger")
    with pytest.raises(ModelNotFoundError, match="not found: it"):
        rest.by_version("barrier_h4", 9)


def test_artefacts_elsewhere_are_refused(tmp_path: Path) -> None:
    for uri in ("s3://bucket/model", "mlflow-artifacts:/1/models/m-1", ""):
        with pytest.raises(ModelArtefactError, match=r"version 3: .*local or shared filesystem"):
            registry(server(uri)).by_alias("barrier_h4", "champion")
    with pytest.raises(
        ModelArtefactError, match=r"it: expected bundle\.json .* was nothing; restore"
    ):
        bundle_folder(str(tmp_path), "it")


def test_a_folder_that_cannot_be_read_says_why(
    artefact: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path, *_: object) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(ModelArtefactError, match="was Permission denied; restore"):
        bundle_folder(artefact.as_uri(), "it")


def test_a_server_that_fails_or_is_not_there_is_a_storage_error() -> None:
    def refuse(request: httpx2.Request) -> httpx2.Response:
        raise httpx2.ConnectError("refused", request=request)

    for handler in (refuse, lambda _request: httpx2.Response(502, text="bad gateway")):
        with pytest.raises(StorageError, match="http://mlflow:5000"):
            registry(handler).names()


def test_the_uri_chooses_the_registry(tmp_path: Path) -> None:
    assert isinstance(open_registry("https://mlflow"), RestModelRegistry)
    assert isinstance(open_registry(f"sqlite:///{tmp_path}/x.db"), SqlModelRegistry)
