"""Who gets in, and what they may: local mode, keys, sessions, scopes, owners, rates."""

import importlib
import itertools
import pkgutil
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from click.testing import CliRunner
from fastapi.routing import APIRoute
from serving import Running, form, radiograph, running

import models
from osteon.cli import main
from osteon.errors import ConfigurationError
from osteon.service.database import Database
from osteon.service.keys import SCOPES, Key, Keys, Scope
from osteon.service.rates import MOST_BUCKETS, LocalRates, RedisRates
from osteon.service.settings import Settings
from osteon.web import routes
from osteon.web.access import COOKIE, CSRF_HEADER, Access, caller_of, cross_site

Serve = Callable[..., Running]
API = "/api/v1"
UNKNOWN = "0" * 32
_numbers = itertools.count()
OPEN = {("POST", f"{API}/session")}
"""Routes of the interface that ask for no key."""


def access_of(server: Running) -> Access:
    access = server.app.state.access
    assert isinstance(access, Access)
    return access


def made(server: Running, name: str, *scopes: Scope, **given: Any) -> tuple[Key, dict[str, str]]:
    """A key whose name begins so, and the header that sends it."""
    key, token = access_of(server).keys.create(f"{name} {next(_numbers)}", scopes=scopes or SCOPES[:3], **given)
    return key, {"Authorization": f"Bearer {token}"}


def problem(answer: httpx.Response, status: int) -> dict[str, Any]:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    found: dict[str, Any] = answer.json()
    assert found["detail"] and found["hint"]
    return found


@pytest.fixture
def keys(tmp_path: Path) -> Iterator[Keys]:
    database = Database.of("", data_dir=tmp_path)
    yield Keys(database)
    database.close()


@pytest.fixture(scope="module")
def everybodys(tmp_path_factory: pytest.TempPathFactory, model_files: models.ModelFiles) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("locked")
    given = Settings(data_dir=folder, gate=model_files.gate, detector=model_files.detector)
    with running(given.changed(require_keys=True, refusals_per_minute=0)) as server:
        yield server


@pytest.fixture
def locked(everybodys: Running) -> Running:
    """A server on which everybody needs a key; one for all tests, nobody is signed in."""
    everybodys.client.cookies.clear()
    return everybodys


class TestKeys:
    def test_token_is_random_told_once_and_nowhere_kept(self, keys: Keys, tmp_path: Path) -> None:
        _, first = keys.create("one")
        _, second = keys.create("two")
        assert re.fullmatch(r"osteon_[\w-]{43}", first) and first != second
        keys.check(first)
        kept = b"".join(path.read_bytes() for path in tmp_path.iterdir())
        assert b"one" in kept
        assert first.encode() not in kept and first.removeprefix("osteon_").encode() not in kept

    def test_lets_in_until_it_is_revoked(self, keys: Keys) -> None:
        key, token = keys.create("reader", scopes=["read"])
        assert keys.check(token) is not None
        assert keys.revoke("reader").id == key.id
        assert keys.check(token) is None
        with pytest.raises(ConfigurationError, match="no key is named"):
            keys.revoke("reader")

    def test_lets_in_until_it_expires(self, keys: Keys) -> None:
        moment = datetime.now(UTC)
        _, over = keys.create("over", expires_at=moment - timedelta(seconds=1))
        _, good = keys.create("good", expires_at=moment + timedelta(hours=1))
        assert keys.check(over) is None
        assert keys.check(good) is not None

    def test_name_is_free_again_once_its_key_does_not_work(self, keys: Keys) -> None:
        keys.create("reader")
        with pytest.raises(ConfigurationError, match="there is a key named"):
            keys.create("reader")
        keys.revoke("reader")
        keys.create("reader")
        assert [key.works for key in keys.all()] == [False, True]

    def test_keeps_its_scopes_and_when_it_was_used(self, keys: Keys) -> None:
        key, token = keys.create("reader", scopes=["admin", "read"])
        assert key.scopes == {"read", "admin"} and key.used_at is None
        keys.check(token)
        (kept,) = keys.all()
        assert kept.scopes == {"read", "admin"} and kept.used_at is not None

    @pytest.mark.parametrize(
        "given", [{"name": ""}, {"name": "x" * 65}, {"name": "a\nb"}, {"scopes": []}, {"token": "short"}]
    )
    def test_what_makes_no_key_is_refused(self, keys: Keys, given: dict[str, Any]) -> None:
        with pytest.raises(ConfigurationError):
            keys.create(**{"name": "reader", **given})
        assert not keys.any()

    def test_there_is_no_way_back_to_none(self, keys: Keys) -> None:
        assert not keys.any()
        keys.create("reader")
        keys.revoke("reader")
        assert keys.any()


class TestKeysOnTheCommandLine:
    @pytest.fixture
    def osteon(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
        monkeypatch.setenv("OSTEON_DATA_DIR", str(tmp_path / "data"))
        return lambda *words: CliRunner().invoke(main, ["keys", *words])

    def test_create_prints_the_token_alone_and_it_works(self, osteon: Callable[..., Any], tmp_path: Path) -> None:
        done = osteon("create", "Dr Petrova", "--scope", "read", "--days", "2")
        assert done.exit_code == 0, done.output
        database = Database.of("", data_dir=tmp_path / "data")
        key = Keys(database).check(done.stdout.strip())
        database.close()
        assert key is not None and key.scopes == {"read"} and key.expires_at is not None
        assert timedelta(days=1.9) < key.expires_at - datetime.now(UTC) < timedelta(days=2)

    def test_list_tells_all_but_the_token(self, osteon: Callable[..., Any]) -> None:
        token = osteon("create", "pacs").stdout.strip()
        osteon("create", "old")
        osteon("revoke", "old")
        for words in (["list"], ["list", "--format", "json"]):
            listed = osteon(*words).stdout
            assert "pacs" in listed and "works" in listed and "revoked" in listed
            assert token not in listed

    def test_wrong_use_says_what_to_do(self, osteon: Callable[..., Any]) -> None:
        done = osteon("revoke", "nobody")
        assert done.exit_code == 2
        assert "hint: `osteon keys list`" in done.stderr


class TestLocalMode:
    def test_nobody_needs_a_key(self, server: Running) -> None:
        told = server.client.get(f"{API}/session").json()
        assert told["local"] is True and told["name"] == "local"
        assert set(told["scopes"]) == set(SCOPES)
        assert server.client.get("/").status_code == 200

    @pytest.mark.parametrize(
        "host", ["evil.example", "evil.example:8010", "127.0.0.1.evil.example", "10.0.0.5", "[::2]", ""]
    )
    @pytest.mark.parametrize("path", ["/", f"{API}/analyses", "/samples/drawn", "/static/icon.svg"])
    def test_foreign_host_is_refused_against_rebinding(self, shared: Running, host: str, path: str) -> None:
        answer = shared.client.get(path, headers={"Host": host})
        assert answer.status_code in (400, 403)
        if host:
            assert problem(answer, 403)["title"] == "Not allowed"

    @pytest.mark.parametrize(
        "host", ["localhost", "localhost:8010", "127.0.0.1:1", "[::1]:8010", "osteon.localhost", "LOCALHOST"]
    )
    def test_own_names_are_answered(self, shared: Running, host: str) -> None:
        assert shared.client.get(f"{API}/analyses", headers={"Host": host}).status_code == 200

    def test_further_names_are_answered_where_they_are_set(self, serve: Serve) -> None:
        server = serve(allowed_hosts="desk.example, other.example")
        assert server.client.get("/", headers={"Host": "desk.example:8010"}).status_code == 200
        problem(server.client.get("/", headers={"Host": "evil.example"}), 403)

    def test_probes_are_answered_under_any_name(self, shared: Running) -> None:
        assert shared.client.get("/healthz", headers={"Host": "10.2.3.4"}).status_code == 200

    def test_other_machines_behind_a_proxy_are_refused(self, shared: Running) -> None:
        answer = shared.client.get(f"{API}/analyses", headers={"X-Forwarded-For": "10.0.0.5"})
        assert "OSTEON_REQUIRE_KEYS" in problem(answer, 403)["hint"]
        problem(shared.client.get("/", headers={"X-Forwarded-For": "10.0.0.5"}), 403)

    @pytest.mark.parametrize(
        "headers",
        [
            {"Sec-Fetch-Site": "cross-site"},
            {"Sec-Fetch-Site": "same-site", "Origin": "http://localhost:3000"},
            {"Origin": "https://evil.example"},
            {"Origin": "null"},
        ],
    )
    def test_changes_that_another_site_asks_for_are_refused(self, server: Running, headers: dict[str, str]) -> None:
        sent = server.client.post(f"{API}/analyses", files=form(radiograph()), headers=headers)
        assert "another site" in problem(sent, 403)["detail"]
        assert server.client.get(f"{API}/analyses").json()["analyses"] == []
        problem(server.client.delete(f"{API}/analyses/{UNKNOWN}", headers=headers), 403)

    def test_changes_of_the_own_page_and_of_programs_are_done(self, server: Running) -> None:
        own: list[dict[str, str]] = [{}, {"Sec-Fetch-Site": "same-origin"}, {"Origin": server.url}]
        for headers in own:
            assert server.client.post(f"{API}/analyses", files=form(radiograph()), headers=headers).status_code in (
                200,
                202,
            )

    def test_reading_is_no_change(self) -> None:
        assert cross_site({"sec-fetch-site": "cross-site"})
        assert not cross_site({})
        assert not cross_site({"origin": "http://127.0.0.1:8010", "host": "127.0.0.1:8010"})

    def test_is_over_with_the_first_key(self, server: Running) -> None:
        assert server.client.get(f"{API}/analyses").status_code == 200
        _, headers = made(server, "reader")
        until = time.monotonic() + 10
        while server.client.get(f"{API}/analyses").status_code == 200 and time.monotonic() < until:
            time.sleep(0.05)
        problem(server.client.get(f"{API}/analyses"), 401)
        assert server.client.get(f"{API}/analyses", headers=headers).status_code == 200

    def test_stays_where_that_is_asked_for(self, serve: Serve) -> None:
        server = serve(require_keys=False)
        made(server, "reader")
        access_of(server)._looked_at = 0.0
        assert server.client.get(f"{API}/analyses").status_code == 200


def _routes() -> Iterator[APIRoute]:
    for module in pkgutil.iter_modules(routes.__path__, "osteon.web.routes."):
        router = getattr(importlib.import_module(module.name), "router", None)
        yield from (route for route in getattr(router, "routes", ()) if isinstance(route, APIRoute))


def _interface() -> list[tuple[str, str]]:
    found = [
        (method, route.path)
        for route in _routes()
        for method in sorted(route.methods)
        if (method, route.path) not in OPEN
    ]
    assert len(found) > 8
    return found


def _asked(path: str, analysis_id: str = UNKNOWN) -> str:
    return re.sub(r"\{\w+\}", analysis_id, path)


class TestKeysNeeded:
    @pytest.mark.parametrize(("method", "path"), _interface(), ids=" ".join)
    def test_every_address_of_the_interface_needs_one(self, method: str, path: str) -> None:
        (route,) = [one for one in _routes() if one.path == path and method in one.methods]
        asked = list(route.dependant.dependencies)
        for dependency in asked:
            asked.extend(dependency.dependencies)
        assert any(dependency.call is caller_of for dependency in asked), f"{method} {path} lets everybody in"

    def test_without_one_nobody_gets_in(self, locked: Running) -> None:
        for method, path in _interface():
            answer = locked.client.request(method, _asked(path), json={} if method in ("POST", "PATCH") else None)
            assert answer.status_code in (401, 422), f"{method} {path}"
            if answer.status_code == 401:
                problem(answer, 401)
                assert answer.headers["www-authenticate"].startswith("Bearer")

    @pytest.mark.parametrize("header", ["Bearer wrong", "Bearer", "Basic b3N0ZW9uOg==", "osteon_" + "x" * 43])
    def test_one_that_nobody_made_is_refused(self, locked: Running, header: str) -> None:
        problem(locked.client.get(f"{API}/analyses", headers={"Authorization": header}), 401)

    def test_revoked_one_is_refused_at_once(self, locked: Running) -> None:
        key, headers = made(locked, "reader")
        assert locked.client.get(f"{API}/analyses", headers=headers).status_code == 200
        access_of(locked).keys.revoke(key.name)
        problem(locked.client.get(f"{API}/analyses", headers=headers), 401)

    def test_page_leads_to_the_sign_in(self, locked: Running) -> None:
        answer = locked.client.get("/")
        assert (answer.status_code, answer.headers["location"]) == (303, "/sign-in")
        for path in ("/sign-in", "/docs", "/openapi.json", "/static/sign-in.js", "/healthz", "/readyz"):
            assert locked.client.get(path).status_code == 200, path

    def test_metrics_need_one_too(self, locked: Running) -> None:
        problem(locked.client.get("/metrics"), 401)
        _, headers = made(locked, "prometheus", "read")
        assert locked.client.get("/metrics", headers=headers).status_code == 200

    def test_foreign_hosts_are_answered(self, locked: Running) -> None:
        _, headers = made(locked, "reader")
        assert locked.client.get(f"{API}/analyses", headers={**headers, "Host": "osteon.example"}).status_code == 200

    @pytest.mark.parametrize(
        ("scope", "method", "path"),
        [
            ("analyse", "POST", f"{API}/analyses"),
            ("analyse", "POST", f"{API}/previews"),
            ("analyse", "DELETE", f"{API}/analyses/{UNKNOWN}"),
            ("read", "GET", f"{API}/analyses"),
            ("read", "GET", f"{API}/analyses/{UNKNOWN}"),
            ("read", "GET", f"{API}/analyses/{UNKNOWN}/image.png"),
            ("read", "GET", f"{API}/analyses/{UNKNOWN}/report.pdf"),
            ("read", "GET", f"{API}/analyses/{UNKNOWN}/events"),
        ],
    )
    def test_scope_is_asked_for(self, locked: Running, scope: Scope, method: str, path: str) -> None:
        _, without = made(locked, "without", *(other for other in SCOPES if other != scope))
        refused = locked.client.request(method, path, headers=without)
        assert scope in problem(refused, 403)["hint"]
        assert f'scope="{scope}"' in refused.headers["www-authenticate"]
        _, within = made(locked, "within", scope)
        assert locked.client.request(method, path, headers=within).status_code not in (401, 403)


class TestOwners:
    def test_each_key_sees_its_own_analyses_only(self, locked: Running) -> None:
        _, hers = made(locked, "hers")
        _, his = made(locked, "his", *SCOPES)
        sent = locked.client.post(f"{API}/analyses", files=form(radiograph()), params={"wait": 30}, headers=hers).json()
        assert sent["status"] == "succeeded"
        assert [one["id"] for one in locked.client.get(f"{API}/analyses", headers=hers).json()["analyses"]] == [
            sent["id"]
        ]
        assert locked.client.get(f"{API}/analyses", headers=his).json()["analyses"] == []
        for method, path in _interface():
            if "{analysis_id}" in path:
                answer = locked.client.request(method, _asked(path, sent["id"]), headers=his, json=_body(path, method))
                assert answer.status_code == 404, f"{method} {path}: {answer.status_code}"
        assert locked.client.get(f"{API}/analyses/{sent['id']}", headers=hers).status_code == 200

    def test_admin_sees_all_where_that_is_asked_for(self, locked: Running) -> None:
        _, hers = made(locked, "hers")
        _, admin = made(locked, "admin", "read", "admin")
        _, reader = made(locked, "reader", "read")
        sent = locked.client.post(f"{API}/analyses", files=form(radiograph()), headers=hers).json()["id"]
        for headers, status in ((admin, 200), (reader, 404)):
            listed = locked.client.get(f"{API}/analyses", params={"owner": "all"}, headers=headers).json()["analyses"]
            assert (sent in [one["id"] for one in listed]) == (status == 200)
            shown = locked.client.get(f"{API}/analyses/{sent}", params={"owner": "all"}, headers=headers)
            assert shown.status_code == status
        assert locked.client.get(f"{API}/analyses", headers=admin).json()["analyses"] == []

    def test_uploads_in_pieces_are_their_senders_too(self, locked: Running) -> None:
        _, hers = made(locked, "hers")
        _, his = made(locked, "his", *SCOPES)
        upload = {"name": "wrist.png", "size_bytes": 4}
        place = f"{API}/uploads/{locked.client.post(f'{API}/uploads', json=upload, headers=hers).json()['id']}"
        for method, path in (("GET", ""), ("PATCH", ""), ("DELETE", ""), ("POST", "/analysis"), ("POST", "/preview")):
            sent = {**his, "Upload-Offset": "0"}
            answer = locked.client.request(
                method, place + path, headers=sent, content=b"1234" if method == "PATCH" else b""
            )
            assert answer.status_code == 404, f"{method} {path}: {answer.text}"
        assert locked.client.get(place, headers=hers).json()["received_bytes"] == 0

    def test_same_file_of_two_keys_is_two_analyses(self, locked: Running) -> None:
        ids = set()
        for name in ("hers", "his"):
            _, headers = made(locked, name)
            ids.add(locked.client.post(f"{API}/analyses", files=form(radiograph()), headers=headers).json()["id"])
        assert len(ids) == 2

    def test_what_was_analysed_without_a_key_can_be_adopted(self, server: Running) -> None:
        sent = server.analysed(radiograph())
        key, headers = made(server, "first")
        assert access_of(server).keys.adopt(key) == 1
        access_of(server)._looked_at = -1e9
        problem(server.client.get(f"{API}/analyses/{sent['id']}"), 401)
        assert server.client.get(f"{API}/analyses/{sent['id']}", headers=headers).status_code == 200


def _body(path: str, method: str) -> Any:
    if method == "PATCH":
        return {"seen": True}
    return {"page": 1, "verdict": "unsure", "comment": "", "boxes": []} if path.endswith("/answers") else None


class TestSessions:
    def sign_in(self, server: Running, name: str = "Dr Petrova", **given: Any) -> httpx.Response:
        _, headers = made(server, name, **given)
        token = headers["Authorization"].removeprefix("Bearer ")
        answer = server.client.post(f"{API}/session", json={"key": token})
        assert answer.status_code == 200, answer.text
        return answer

    def test_key_opens_one_and_the_cookie_is_kept_from_scripts_and_other_sites(self, locked: Running) -> None:
        answer = self.sign_in(locked)
        told = answer.json()
        assert told["name"].startswith("Dr Petrova") and told["local"] is False and len(told["csrf"]) >= 32
        cookie = answer.headers["set-cookie"].lower()
        assert cookie.startswith(f"{COOKIE}=") and "httponly" in cookie and "samesite=strict" in cookie
        assert "path=/" in cookie and "secure" not in cookie
        assert locked.client.get(f"{API}/session").json() == told
        assert locked.client.get("/").status_code == 200
        assert locked.client.get("/sign-in").headers["location"] == "/"

    def test_cookie_is_secure_where_the_proxy_speaks_https(self, locked: Running) -> None:
        _, headers = made(locked, "reader")
        token = headers["Authorization"].removeprefix("Bearer ")
        https = {"X-Forwarded-Proto": "https"}
        answer = locked.client.post(f"{API}/session", json={"key": token}, headers=https)
        assert "secure" in answer.headers["set-cookie"].lower()
        assert answer.headers["strict-transport-security"].startswith("max-age=")
        assert "strict-transport-security" not in locked.client.get("/healthz").headers

    def test_wrong_key_opens_none(self, locked: Running) -> None:
        answer = locked.client.post(f"{API}/session", json={"key": "wrong"})
        problem(answer, 401)
        assert "set-cookie" not in answer.headers

    def test_changes_need_the_csrf_token(self, locked: Running) -> None:
        csrf = self.sign_in(locked).json()["csrf"]
        for headers in ({}, {CSRF_HEADER: "wrong"}):
            answer = locked.client.post(f"{API}/analyses", files=form(radiograph()), headers=headers)
            assert "CSRF" in problem(answer, 403)["detail"]
        sent = locked.client.post(f"{API}/analyses", files=form(radiograph()), headers={CSRF_HEADER: csrf})
        assert sent.status_code in (200, 202)

    def test_page_tells_its_script_the_csrf_token(self, locked: Running) -> None:
        csrf = self.sign_in(locked).json()["csrf"]
        assert f'"csrf": "{csrf}"' in locked.client.get("/").text

    def test_is_over_after_signing_out(self, locked: Running) -> None:
        answer = self.sign_in(locked)
        secret = locked.client.cookies[COOKIE]
        out = locked.client.delete(f"{API}/session", headers={CSRF_HEADER: answer.json()["csrf"]})
        assert out.status_code == 204
        assert COOKIE not in locked.client.cookies
        problem(locked.client.get(f"{API}/analyses", headers={"Cookie": f"{COOKIE}={secret}"}), 401)

    def test_is_over_when_its_time_is(self, serve: Serve) -> None:
        server = serve(require_keys=True, session_hours=1e-4)
        secret = self.sign_in(server).cookies[COOKIE]
        time.sleep(0.4)
        problem(server.client.get(f"{API}/analyses", headers={"Cookie": f"{COOKIE}={secret}"}), 401)

    def test_ends_no_later_than_its_key(self, locked: Running) -> None:
        moment = datetime.now(UTC) + timedelta(minutes=5)
        told = self.sign_in(locked, expires_at=moment).json()
        assert abs(datetime.fromisoformat(told["expires_at"]) - moment) < timedelta(seconds=1)

    def test_is_over_when_its_key_is_revoked(self, locked: Running) -> None:
        access_of(locked).keys.revoke(self.sign_in(locked).json()["name"])
        problem(locked.client.get(f"{API}/analyses"), 401)

    def test_secret_is_nowhere_kept(self, locked: Running) -> None:
        self.sign_in(locked)
        folder = locked.service.settings.data_dir
        kept = b"".join(path.read_bytes() for path in folder.iterdir() if path.is_file())
        assert b"Dr Petrova" in kept
        assert locked.client.cookies[COOKIE].encode() not in kept


class TestRates:
    def test_bucket_fills_up_again(self) -> None:
        moment = [0.0]
        rates = LocalRates(clock=lambda: moment[0])
        assert [rates.wait("a", per_minute=60) for _ in range(61)] == [0] * 60 + [1]
        assert rates.wait("b", per_minute=60) == 0
        moment[0] = 2.0
        assert [rates.wait("a", per_minute=60) for _ in range(3)] == [0, 0, 1]

    def test_buckets_do_not_pile_up(self) -> None:
        rates = LocalRates(clock=lambda: 0.0)
        for number in range(MOST_BUCKETS + 5):
            rates.wait(str(number), per_minute=1)
        assert len(rates._buckets) == MOST_BUCKETS

    def test_servers_count_together_in_redis_and_go_on_without_it(self, tmp_path: Path) -> None:
        program = shutil.which("redis-server")
        if program is None:
            pytest.skip("redis-server is not installed")
        place = tmp_path / "redis.sock"
        words = [program, "--port", "0", "--unixsocket", str(place), "--save", "", "--dir", str(tmp_path)]
        redis = subprocess.Popen(words, stdout=subprocess.DEVNULL)
        try:
            until = time.monotonic() + 30
            while not place.exists() and time.monotonic() < until:
                time.sleep(0.02)
            one, other = RedisRates(f"unix://{place}"), RedisRates(f"unix://{place}")
            assert [rates.wait("a", per_minute=2) for rates in (one, other, one)][:2] == [0, 0]
            assert 1 <= other.wait("a", per_minute=2) <= 30
            assert other.wait("b", per_minute=2) == 0
        finally:
            redis.terminate()
            redis.wait()
        assert one.wait("a", per_minute=2) == 0, "nobody is held up where Redis does not answer"
        one.close()
        other.close()

    def test_key_that_asks_too_often_is_told_when_to_come_back(self, serve: Serve) -> None:
        server = serve(require_keys=True, requests_per_minute=3)
        _, busy = made(server, "busy")
        _, calm = made(server, "calm")
        answers = [server.client.get(f"{API}/session", headers=busy) for _ in range(4)]
        assert [answer.status_code for answer in answers] == [200, 200, 200, 429]
        problem(answers[-1], 429)
        assert 1 <= int(answers[-1].headers["retry-after"]) <= 20
        assert server.client.get(f"{API}/session", headers=calm).status_code == 200

    def test_trying_keys_is_slow(self, serve: Serve) -> None:
        server = serve(require_keys=True, refusals_per_minute=2)
        tries = [server.client.post(f"{API}/session", json={"key": f"guess {n}"}).status_code for n in range(3)]
        assert tries == [401, 401, 429]
        assert server.client.get(f"{API}/analyses", headers={"Authorization": "Bearer guess"}).status_code == 429

    def test_address_without_a_key_that_asks_too_often_is_told_so(self, serve: Serve) -> None:
        server = serve(require_keys=True, requests_per_minute=2)
        assert [server.client.get("/sign-in").status_code for _ in range(3)] == [200, 200, 429]
        assert server.client.get("/healthz").status_code == 200
