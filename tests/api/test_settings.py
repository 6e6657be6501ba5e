"""What an operator may write, and what they are told when it does not fit."""

from pathlib import Path

import pytest

from api import settings
from api.providers.fixed import fixed_providers
from api.settings import OpenAIEndpoint, Settings, SettingsError
from api.settings_loading import load
from commands.providers.provider_setup import ProviderSecrets


def problems_of(environ: dict[str, str], folder: Path) -> list[str]:
    with pytest.raises(SettingsError) as raised:
        load(environ, folder)
    return raised.value.problems


def test_nothing_set_gives_the_defaults(tmp_path: Path) -> None:
    assert load({}, tmp_path) == Settings()


def test_an_empty_variable_counts_as_unset(tmp_path: Path) -> None:
    assert load({"STENO_PORT": "", "DATABASE_URL": " "}, tmp_path) == Settings()


def test_variables_are_converted_to_their_types(tmp_path: Path) -> None:
    loaded = load(
        {"STENO_PORT": "9", "STENO_LEASE_S": "2.5", "STENO_DEMO_MODEL": "false", "STENO_DATA": "/x", "DATABASE_URL": "postgresql:///d"},
        tmp_path,
    )
    assert (loaded.port, loaded.lease_s, loaded.demo_model, loaded.data, loaded.database_url) == (
        9,
        2.5,
        False,
        Path("/x"),
        "postgresql:///d",
    )


def test_the_environment_beats_the_file(tmp_path: Path) -> None:
    (tmp_path / "stenograph.toml").write_text('port = 1\nhost = "::1"\n')
    loaded = load({"STENO_PORT": "2"}, tmp_path)
    assert (loaded.port, loaded.host) == (2, "::1")


def test_the_file_may_lie_elsewhere(tmp_path: Path) -> None:
    (tmp_path / "other.toml").write_text("port = 1\n")
    assert load({"STENO_CONFIG": str(tmp_path / "other.toml")}, tmp_path / "nowhere").port == 1


def test_a_path_that_is_none_is_reported_as_any_other_mistake(tmp_path: Path) -> None:
    (tmp_path / "stenograph.toml").write_text("data = 5\n")
    assert problems_of({}, tmp_path) == [f"{tmp_path}/stenograph.toml: data: expected a path, not 5"]


def test_a_relative_data_folder_in_the_file_is_relative_to_the_file(tmp_path: Path) -> None:
    (tmp_path / "stenograph.toml").write_text('data = "kept"\n')
    assert load({}, tmp_path).data == tmp_path / "kept"


def test_lists_have_semicolons_between_them_and_keys_belong_to_servers_in_order(tmp_path: Path) -> None:
    loaded = load({"STENO_OPENAI_BASE_URLS": "http://a/v1; http://b/v1 ;http://c", "STENO_OPENAI_API_KEYS": ";key"}, tmp_path)
    assert loaded.openai_connections == (
        OpenAIEndpoint("http://a/v1", None),
        OpenAIEndpoint("http://b/v1", "key"),
        OpenAIEndpoint("http://c", None),
    )


def test_more_keys_than_servers_are_refused(tmp_path: Path) -> None:
    assert problems_of({"STENO_OPENAI_API_KEYS": "a"}, tmp_path) == [
        "STENO_OPENAI_API_KEYS: 1 keys for 0 servers in STENO_OPENAI_BASE_URLS"
    ]


@pytest.mark.parametrize(
    ("variable", "text", "expected"),
    [
        ("STENO_PORT", "abc", "a whole number from 0 to 65535"),
        ("STENO_PORT", "65536", "a whole number from 0 to 65535"),
        ("STENO_LEASE_S", "0", "a number above 0"),
        ("STENO_LEASE_S", "nan", "a number above 0"),
        ("STENO_DEMO_MODEL", "perhaps", "true or false"),
        ("STENO_LOG_LEVEL", "loud", "debug, info, warning or error"),
    ],
)
def test_a_value_that_does_not_fit_is_refused_by_name_and_accepted_form(variable: str, text: str, expected: str, tmp_path: Path) -> None:
    assert problems_of({variable: text}, tmp_path) == [f"{variable}: expected {expected}, not {text!r}"]


def test_everything_wrong_is_said_at_once(tmp_path: Path) -> None:
    (tmp_path / "stenograph.toml").write_text('prot = 1\nport = "8080x"\n')
    file = tmp_path / "stenograph.toml"
    assert problems_of({"STENO_HOTS": "x", "STENO_WORKERS": "0"}, tmp_path) == [
        f"{file}: prot: no such setting; did you mean port?",
        f"{file}: port: expected a whole number from 0 to 65535, not '8080x'",
        "STENO_HOTS: no such setting; did you mean STENO_HOST?",
        "STENO_WORKERS: expected a whole number from 1 to 64, not '0'",
    ]


def test_other_programs_variables_are_not_ours(tmp_path: Path) -> None:
    assert load({"STENOGRAPHER": "x", "PATH": "/bin", "PORT": "1"}, tmp_path) == Settings()


def test_a_missing_file_that_was_asked_for_is_refused(tmp_path: Path) -> None:
    assert problems_of({"STENO_CONFIG": "/nowhere.toml"}, tmp_path) == ["STENO_CONFIG: there is no file /nowhere.toml"]


def test_a_broken_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "stenograph.toml").write_text("port = \n")
    assert problems_of({}, tmp_path)[0].startswith(f"{tmp_path / 'stenograph.toml'}: ")


def test_secrets_are_shown_nowhere(tmp_path: Path) -> None:
    hidden = "a-secret-of-at-least-thirty-two-characters"
    environ = {
        "STENO_SECRET": hidden,
        "DATABASE_URL": f"postgresql://u:{hidden}@h/d",
        "STENO_OPENAI_BASE_URLS": "http://a",
        "STENO_OPENAI_API_KEYS": hidden,
    }
    loaded = load(environ, tmp_path)
    assert loaded.secret == hidden
    assert hidden not in repr(loaded) and hidden not in str(loaded) and hidden not in str(loaded.__rich_repr__())


def test_a_secret_that_does_not_fit_is_not_shown_either(tmp_path: Path) -> None:
    assert problems_of({"STENO_SECRET": "hunter2"}, tmp_path) == ["STENO_SECRET: expected a text of at least 32 characters"]


def test_the_docs_list_exactly_what_there_is() -> None:
    page = Path(__file__).parents[2] / "docs" / "configuration.md"
    assert settings.markdown_table() in page.read_text(), "replace the page's table with what `python -m api.settings` prints"


@pytest.mark.parametrize("proxies", ["127.0.0.1", "10.0.0.0/8;::1", "2001:db8::/32"])
def test_proxies_are_addresses_or_networks(proxies: str, tmp_path: Path) -> None:
    assert load({"STENO_TRUSTED_PROXIES": proxies}, tmp_path).trusted_proxies == tuple(proxies.split(";"))


@pytest.mark.parametrize("proxies", ["proxy.example.org", "127.0.0.1,10.0.0.1", "10.0.0.1/8", "*"])
def test_a_proxy_that_would_never_be_known_is_told(proxies: str, tmp_path: Path) -> None:
    (problem,) = problems_of({"STENO_TRUSTED_PROXIES": proxies}, tmp_path)
    assert problem == f"STENO_TRUSTED_PROXIES: {proxies!r} is no address and no network"


@pytest.mark.parametrize("host", ["https://chat.example.org", "chat.example.org:443", "*", "chat.*.org", "a b"])
def test_a_host_that_would_never_be_asked_for_is_told(host: str, tmp_path: Path) -> None:
    (problem,) = problems_of({"STENO_ALLOWED_HOSTS": host}, tmp_path)
    assert problem == f"STENO_ALLOWED_HOSTS: {host!r} is no host name"


def test_a_provider_may_be_written_with_all_that_can_be_said(tmp_path: Path) -> None:
    (tmp_path / "stenograph.toml").write_text(
        '[providers.lab]\nkind = "ollama"\nbase_url = "http://gpu:11434"\nprefix_id = "lab"\nmodel_ids = ["m"]\nidle_timeout_s = 600\n'
        'api_key = "sk-x"\nheaders = { "X-Team" = "research" }\nproxy = "http://proxy:3128"\nenabled = false\n'
    )
    loaded = load({}, tmp_path)
    (setup,) = fixed_providers(loaded)
    assert (setup.name, setup.kind, setup.base_url, setup.enabled, setup.from_settings) == (
        "lab",
        "ollama",
        "http://gpu:11434",
        False,
        True,
    )
    assert setup.fields == {"name": "lab", "rank": 0, "prefix_id": "lab", "model_ids": ["m"], "idle_timeout_s": 600}
    assert setup.secrets == ProviderSecrets("sk-x", {"X-Team": "research"}, "http://proxy:3128")
    assert "sk-x" not in repr(loaded)
    assert (
        fixed_providers(load({"STENO_PROVIDERS": '{"lab": {"kind": "openai", "base_url": "http://other/v1"}}'}, tmp_path))[0].id == setup.id
    )


@pytest.mark.parametrize(
    ("entry", "problem"),
    [
        ("{}", "expected a kind, openai or ollama"),
        ('{"kind": "anthropic", "base_url": "http://a"}', "expected a kind, openai or ollama"),
        ('{"kind": "openai"}', "expected a base_url"),
        ('{"kind": "openai", "base_url": "a"}', "expected the address of a server, http://… or https://…"),
        ('{"kind": "openai", "base_url": "http://a", "api_key": 1}', "api_key does not fit"),
        ('{"kind": "openai", "base_url": "http://a", "headers": {"sk-secret": 1}}', "headers does not fit"),
        ('{"kind": "openai", "base_url": "http://a", "idle_timeout_s": -1}', "expected seconds, above 0 and at most 86400"),
    ],
)
def test_what_cannot_be_a_provider_is_told_by_its_name(entry: str, problem: str, tmp_path: Path) -> None:
    assert problems_of({"STENO_PROVIDERS": f'{{"lab": {entry}}}'}, tmp_path) == [f"STENO_PROVIDERS: lab: {problem}"]


def test_a_field_that_no_provider_has_is_told(tmp_path: Path) -> None:
    (problem,) = problems_of({"STENO_PROVIDERS": '{"lab": {"kind": "openai", "base_url": "http://a", "prefix": "x"}}'}, tmp_path)
    assert problem.startswith("STENO_PROVIDERS: lab: a provider has no 'prefix'")


def test_a_network_that_is_none_is_told(tmp_path: Path) -> None:
    assert problems_of({"STENO_PROVIDER_REFUSED_NETWORKS": "127.0.0.0/8; lan"}, tmp_path) == [
        "STENO_PROVIDER_REFUSED_NETWORKS: 'lan' is no address and no network"
    ]
