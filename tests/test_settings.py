"""``.env.example`` against the settings: every name, every default."""

from pathlib import Path

import pytest
from pydantic import SecretStr, ValidationError
from pydantic_settings import BaseSettings

from market import settings

EXAMPLE = Path(__file__).resolve().parent.parent / ".env.example"
CLASSES = [
    kind
    for kind in vars(settings).values()
    if isinstance(kind, type) and issubclass(kind, BaseSettings) and kind is not BaseSettings
]


def listed() -> dict[str, str]:
    lines = EXAMPLE.read_text(encoding="utf-8").splitlines()
    pairs = [line.partition("=") for line in lines if line and not line.startswith("#")]
    names = [name for name, _, _ in pairs]
    assert len(names) == len(set(names))
    return {name: value for name, _, value in pairs}


def known() -> dict[str, str]:
    found = {}
    for kind in CLASSES:
        prefix = kind.model_config["env_prefix"]
        for name, field in kind.model_fields.items():
            value = field.default
            if isinstance(value, SecretStr):
                value = value.get_secret_value()
            text = str(value).lower() if isinstance(value, bool) else str(value)
            found[f"{prefix}{name}".upper()] = text
    return found


def test_every_setting_is_listed_with_its_default_and_no_other_is() -> None:
    assert listed() == known()
    assert len(known()) > 10


@pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)
def test_the_example_is_a_file_that_the_settings_read_as_their_defaults(
    kind: type[BaseSettings], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in known():
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    defaults = kind()
    (tmp_path / ".env").write_text(EXAMPLE.read_text(encoding="utf-8"), encoding="utf-8")
    assert kind() == defaults


@pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)
def test_the_environment_is_read_and_the_value_cannot_be_changed(
    kind: type[BaseSettings], monkeypatch: pytest.MonkeyPatch
) -> None:
    name = next(iter(kind.model_fields))
    values = {"home": "/elsewhere", "retention_versions": "3", "host": "0.0.0.0"}  # noqa: S104
    values["lease_s"] = "60.0"
    values["level"] = "ERROR"
    given = values.get(name, "http://elsewhere")
    monkeypatch.setenv(f"{kind.model_config['env_prefix']}{name}".upper(), given)
    made = kind()
    assert str(getattr(made, name)) == given
    with pytest.raises(ValidationError, match="frozen"):
        setattr(made, name, getattr(made, name))


def test_a_secret_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WAVEHOUSE_PROVIDER_BINANCE_API_KEY", "hunter2")
    made = settings.ProviderSettings()
    assert "hunter2" not in repr(made)
    assert made.binance_api_key.get_secret_value() == "hunter2"
