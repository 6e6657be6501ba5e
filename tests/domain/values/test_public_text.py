"""What everybody may read of another system's error."""

import pytest

from domain.values.public_text import public_text

SECRET = "sk-proj-Abc123Def456"  # nobody's


@pytest.mark.parametrize(
    ("text", "public"),
    [
        ("Incorrect API key provided: sk-proj-Abc123Def456.", "Incorrect API key provided: ***."),
        ("Incorrect API key provided: sk-ab***************wxyz. Ask", "Incorrect API key provided: ***. Ask"),
        ("the key ab12...wx34 is not known", "the key *** is not known"),
        ("the key ending in Def456 has expired", "the key ending in *** has expired"),
        ("the key ending in f456 has expired", "the key ending in *** has expired"),
        ("Bearer abcdef12345 was refused", "*** was refused"),
        ("see https://llm.internal:8443/v1?key=x for more", "see [address] for more"),
        ("Connect call failed ('10.0.0.7', 8000)", "Connect call failed ('[address]', 8000)"),
        ("no route to 10.0.0.7:8000.", "no route to [address]."),
        ("no route to [fe80::1]:443", "no route to [address]"),
        ("no route to fe80:0:0:0:1:2:3:4", "no route to [address]"),
        ("litellm.internal:4000 said no", "[address] said no"),
        ("localhost:11434 and gateway said no", "[address] and [address] said no"),
        ("Pool(host='x', host=gateway-2, port=8000)", "Pool(host=[address], host=[address], port=[address])"),
        ('connection to server at "db.internal", port 5432 failed', "connection to server at [address], port [address] failed"),
    ],
)
def test_it_names_neither_an_address_nor_a_key(text: str, public: str) -> None:
    assert public_text(text, secret=SECRET, hosts=("gateway",)) == public


@pytest.mark.parametrize(
    "text",
    [
        "model 'gpt-4.1-mini' not found",
        "This model's maximum context length is 8192 tokens, you asked for 9000 (context_length_exceeded)",
        "Rate limit reached: try again at 10:30:15. Version 1.2.3 is old",
        "model is loading… please wait...",
        "invalid value at messages[0].content: expected a string",
    ],
)
def test_what_helps_a_person_stays(text: str) -> None:
    assert public_text(text, secret=SECRET, hosts=("gateway",)) == text
