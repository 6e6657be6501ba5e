"""Webhooks of channels over HTTP, in the reference's paths and forms."""

from typing import Any

import pytest
from structlog.testing import capture_logs

from tests.api.channels.test_channels import BASE, made
from tests.api.channels.test_messages import page
from tests.api.conftest import Running, on_one_and_two

pytestmark = [pytest.mark.anyio, on_one_and_two]


async def test_a_service_posts_by_its_token_until_it_is_revoked(server: Running) -> None:
    ada, ben = await server.sign_up("Ada"), await server.sign_up("Ben")
    channel_id = await made(ada, ben)
    hooks = f"{BASE}/{channel_id}/webhooks"
    hook: dict[str, Any] = (await ada.post(f"{hooks}/create", {"name": "CI"})).json()
    token = hook.pop("token")
    assert (await ada.get(hooks)).json() == [hook]
    assert (await ben.get(hooks)).status_code == (await ben.post(f"{hooks}/create", {"name": "x"})).status_code == 403
    by_path, by_header = f"{BASE}/webhooks/{hook['id']}/{token}", f"{BASE}/webhooks/{hook['id']}"
    stranger = ada.http.__class__(base_url=ada.http.base_url)  # without a session
    async with stranger:
        said = await stranger.post(by_path, json={"content": "<@M:demo:5> built"})
        assert said.json()["success"] is True
        again = await stranger.post(by_header, json={"content": "deployed"}, headers={"Authorization": f"Bearer {token}"})
        assert again.status_code == 200
        messages = await page(ben, channel_id)
        assert [one["content"] for one in messages] == ["deployed", "<@M:demo:5> built"]
        assert messages[1]["id"] == said.json()["message_id"]
        assert messages[1]["user"] == {"id": hook["id"], "name": "CI", "role": "webhook"}
        assert messages[1]["reply_count"] == 0  # a service asks no model
        assert (await stranger.post(by_path, json={"content": "x" * 200_000})).status_code == 413
        with capture_logs() as logs:
            wrong = f"{BASE}/webhooks/{hook['id']}/not-the-token"
            assert (await stranger.post(wrong, json={"content": "hi"})).status_code == 401
        assert "not-the-token" not in str(logs)
        renamed = await ada.post(f"{hooks}/{hook['id']}/update", {"name": "CD"})
        assert renamed.json()["name"] == "CD"
        assert (await ben.http.delete(f"{hooks}/{hook['id']}/delete")).status_code == 403
        assert (await ada.http.delete(f"{hooks}/{hook['id']}/delete")).json() is True
        assert (await stranger.post(by_path, json={"content": "hi"})).status_code == 401
    assert (await ada.get(hooks)).json() == []


async def test_a_service_is_sent_events_by_who_manages_the_channel_and_nowhere_inside(server: Running) -> None:
    ada, ben = await server.sign_up("Ada"), await server.sign_up("Ben")
    channel_id = await made(ada, ben)
    hooks = f"{BASE}/{channel_id}/webhooks/outgoing"
    inside = await ada.post(f"{hooks}/create", {"url": "http://127.0.0.1:9/x"})
    assert (inside.status_code, inside.json()["param"]) == (400, "url")
    url = "https://192.0.2.1/hook?key=k"  # of a network for documentation: nobody is there
    assert (await ben.post(f"{hooks}/create", {"url": url})).status_code == (await ben.get(hooks)).status_code == 403
    hook: dict[str, Any] = (await ada.post(f"{hooks}/create", {"url": url, "types": ["message"]})).json()
    assert hook.pop("secret").startswith("whsec_")
    [listed] = (await ada.get(hooks)).json()
    assert (listed["id"], listed["origin"], listed["types"], listed["sent"]) == (hook["id"], "https://192.0.2.1", ["message"], 0)
    assert (await ben.http.delete(f"{hooks}/{hook['id']}/delete")).status_code == 403
    assert (await ada.http.delete(f"{hooks}/{hook['id']}/delete")).json() is True
    assert (await ada.http.delete(f"{hooks}/{hook['id']}/delete")).status_code == 404
    assert (await ada.get(hooks)).json() == []


async def test_a_webhook_has_a_picture_for_who_may_read_its_channel(server: Running) -> None:
    ada, ben, cat = [await server.sign_up(name) for name in ("Ada", "Ben", "Cat")]
    channel_id = await made(ada, ben)
    hooks = f"{BASE}/{channel_id}/webhooks"
    hook = (await ada.post(f"{hooks}/create", {"name": "Build Bot"})).json()
    path = f"{BASE}/webhooks/{hook['id']}/profile/image"
    initials = await ben.get(path)
    assert (initials.status_code, initials.headers["content-type"]) == (200, "image/svg+xml")
    assert ">BB<" in initials.text
    assert (await cat.get(path)).status_code == 403
    async with ben.http.__class__(base_url=ben.http.base_url) as stranger:  # without a session
        assert (await stranger.get(path)).status_code == 401
    for url in ("https://pictures.example/bot.png", "/static/bot.png"):
        await ada.post(f"{hooks}/{hook['id']}/update", {"name": "Build Bot", "profile_image_url": url})
        shown = await ben.get(path)
        assert (shown.status_code, shown.headers["location"]) == (302, url)
    await ada.http.delete(f"{hooks}/{hook['id']}/delete")
    assert (await ben.get(path)).json()["code"] == "webhook_not_found"
    unknown = f"{BASE}/webhooks/00000000-0000-4000-8000-000000000000/profile/image"
    assert (await ben.get(unknown)).json()["code"] == "webhook_not_found"
