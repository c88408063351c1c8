"""The server: who may ask, what is bounded, what is counted, and how it ends."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import urllib3
from servers.catalogue import running

from penstock.catalogue.orm.dataset import DatasetScope
from penstock.catalogue.state.attempt_limit import AttemptLimit
from penstock.errors import AccessError, FormatTooNewError, UsageError

READ, WRITE = DatasetScope.READ, DatasetScope.WRITE


def made(site, title, **more):
    return site.ask("POST", "/api/datasets", body={"title": title, **more}).json()


def test_a_server_says_that_it_is_well_and_counts_what_it_did(site):
    assert site.ask("GET", "/health").json()["status"] == "ok"
    assert site.ask("GET", "/api/datasets").status == 200
    shown = site.ask("GET", "/metrics").body.decode()
    assert 'penstock_http_requests_total{method="GET",route="/api/datasets",status="200"} 1.0' in shown


def test_a_dataset_that_was_made_is_listed_with_its_role(site):
    created = made(site, "Example Title", description="of all sites")
    assert created["title"] == "Example Title"
    assert created["type"] == 0
    page = site.ask("GET", "/api/datasets?title_like=example%25").json()
    assert [each["title"] for each in page["datasets"]] == ["Example Title"]
    assert page["datasets"][0]["dataset_hash"] == created["dataset_hash"]
    assert page["roles"] == {"demo": 0}
    assert site.ask("GET", "/api/datasets?title_like=other%25").json()["datasets"] == []


def test_the_first_page_shows_titles_as_text(site):
    made(site, "<script>alert(1)</script> Photos")
    answer = site.ask("GET", "/")
    assert b"&lt;script&gt;alert(1)" in answer.body
    assert b"<script>alert" not in answer.body
    assert "script-src 'self'" in answer.headers["content-security-policy"]
    assert site.ask("GET", "/static/catalogue.css").headers["content-type"].startswith("text/css")
    assert site.ask("GET", "/static/..%2fpage_routes.py").status == 404


def test_nobody_is_known_without_a_key_where_nobody_is_trusted(tmp_path, demo, site):
    with running(tmp_path / "other", demo, is_trusting=False) as closed:
        for path in ("/api/datasets", "/api/caller", "/api/keys"):
            assert closed.ask("GET", path).status == 401
        key = closed.context.keys.create("mine", [READ], is_admin=False)
        assert closed.ask("GET", "/api/caller", key=key.secret).json()["title"] == "mine"
        assert closed.ask("GET", "/api/caller", key=key.secret[:-1] + "x").status == 401


def test_a_key_of_one_dataset_shows_no_other(site):
    one, other = made(site, "One"), made(site, "Other")
    key = site.context.keys.create("third party", [READ], one["dataset_hash"]).secret
    listed = site.ask("GET", "/api/datasets", key=key).json()["datasets"]
    assert [each["title"] for each in listed] == ["One"]
    assert site.ask("GET", f"/api/datasets/{one['dataset_hash']}", key=key).status == 200
    foreign = site.ask("GET", f"/api/datasets/{other['dataset_hash']}", key=key)
    missing = site.ask("GET", "/api/datasets/no-such-dataset", key=key)
    assert (foreign.status, foreign.json()["error"]["what"]) == (missing.status, missing.json()["error"]["what"])
    assert foreign.status == 403


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/api/datasets", {"title": "Mine"}),
        ("POST", "/api/keys", {"scopes": ["dataset.read"]}),
        ("POST", "/api/keys/master", {"dataset": "one"}),
        ("GET", "/api/keys", None),
        ("POST", "/api/ssh-keys", {"public": "ssh-ed25519 AAAA", "scopes": ["dataset.read"]}),
        ("DELETE", "/api/keys/0000000000000000", None),
        ("DELETE", "/api/ssh-keys/none", None),
    ],
)
def test_what_only_admins_may_is_refused_to_a_key_that_reads_and_writes(site, method, path, body):
    one = made(site, "One")
    for dataset in ("", one["dataset_hash"]):
        key = site.context.keys.create("", [READ, WRITE], dataset).secret
        assert site.ask(method, path, key=key, body=body).status == 403


def test_an_admin_of_one_dataset_makes_keys_of_that_alone(site):
    one, other = made(site, "One")["dataset_hash"], made(site, "Other")["dataset_hash"]
    key = site.context.keys.create("", [READ, WRITE], one, is_admin=True).secret
    ask = {"scopes": ["dataset.read"]}
    assert site.ask("POST", "/api/keys", key=key, body={**ask, "dataset": one}).status == 201
    for dataset in (other, "", "no such"):
        assert site.ask("POST", "/api/keys", key=key, body={**ask, "dataset": dataset}).status == 403


def test_a_key_that_expired_or_was_revoked_opens_nothing(site):
    keys = site.context.keys
    short = keys.create("", [READ], lifetime=0.01)
    revoked = keys.create("", [READ])
    keys.revoke(revoked.api_key)
    time.sleep(0.02)
    for key in (short, revoked):
        answer = site.ask("GET", "/api/caller", key=key.secret)
        assert (answer.status, answer.json()["error"]["what"]) == (401, "this key is not valid")
    assert keys.list() == []


def test_the_secret_of_a_key_is_kept_nowhere(site):
    key = site.context.keys.create("", [READ])
    secret = key.secret.rpartition("_")[2].encode()
    folder = os.path.dirname(site.context.database.path)
    kept = b"".join(path.read_bytes() for path in Path(folder).rglob("*") if path.is_file())
    assert key.api_key.encode() in kept
    assert secret not in kept


def test_a_master_key_that_is_made_again_ends_the_one_before(site):
    one = made(site, "One")["dataset_hash"]
    first = site.ask("POST", "/api/keys/master", body={"dataset": one}).json()["secret"]
    second = site.ask("POST", "/api/keys/master", body={"dataset": one}).json()["secret"]
    assert site.ask("GET", "/api/caller", key=first).status == 401
    assert site.ask("GET", "/api/caller", key=second).json()["scopes"] == ["dataset.read", "dataset.write"]


def test_who_guesses_keys_has_to_wait(site):
    for _ in range(10):
        assert site.ask("GET", "/api/caller", key="psk_0000000000000000_" + "A" * 43).status == 401
    answer = site.ask("GET", "/api/caller", key="psk_0000000000000000_" + "A" * 43)
    assert answer.status == 429
    assert int(answer.headers["retry-after"]) >= 1


def test_attempts_come_back_with_time():
    limit = AttemptLimit(2, 0.5)
    assert [limit.take("a", 0.0) for _ in range(3)] == [0.0, 0.0, 2.0]
    assert limit.take("b", 0.0) == 0.0
    assert limit.take("a", 2.0) == 0.0


def test_a_session_changes_something_with_its_token_alone(site):
    key = site.context.keys.create("mine", [READ, WRITE], is_admin=True).secret
    signed = site.ask("POST", "/api/session", body={"key": key})
    cookie = signed.headers["set-cookie"].partition(";")[0]
    assert "HttpOnly" in signed.headers["set-cookie"]
    assert "samesite=strict" in signed.headers["set-cookie"].lower()
    assert site.ask("GET", "/api/caller", cookie=cookie).json()["title"] == "mine"
    assert site.ask("POST", "/api/datasets", body={"title": "A"}, cookie=cookie).status == 403
    token = signed.json()["csrf"]
    assert site.ask("POST", "/api/datasets", body={"title": "A"}, cookie=cookie, x_csrf_token=token).status == 201
    assert site.ask("DELETE", "/api/session", cookie=cookie, x_csrf_token=token).status == 204
    assert site.ask("GET", "/api/caller", cookie=cookie).json()["name"] == "local"


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "https://evil.example"},
        {"sec_fetch_site": "cross-site"},
        {"host": "evil.example"},
        {"x_forwarded_for": "10.0.0.1"},
    ],
)
def test_a_foreign_site_cannot_use_that_this_machine_is_trusted(site, headers):
    assert site.ask("POST", "/api/datasets", body={"title": "A"}, **headers).status in (401, 403)
    assert site.ask("GET", "/api/datasets").json()["datasets"] == []


def test_a_request_that_is_too_large_is_refused(site):
    assert site.ask("POST", "/api/datasets", raw=b"x" * (17 << 20)).status == 413


@pytest.mark.parametrize("query", ["sort=colour", "limit=0", "limit=x", "cursor=%00", "created_before=soon"])
def test_a_question_that_makes_no_sense_is_told_so(site, query):
    answer = site.ask("GET", f"/api/datasets?{query}")
    assert answer.status in (400, 422)
    assert answer.json()["error"]["what"]


def test_a_list_of_datasets_comes_in_pages(site):
    for title in "CAB":
        made(site, title)
    seen, cursor = [], ""
    while cursor is not None:
        page = site.ask("GET", f"/api/datasets?limit=2&sort=-title{cursor and '&cursor=' + cursor}").json()
        seen += [each["title"] for each in page["datasets"]]
        cursor = page["cursor"]
    assert seen == ["C", "B", "A"]


def test_two_datasets_of_one_title_have_names_of_their_own(site):
    one, two = made(site, "Photos"), made(site, "Photos")
    assert one["dataset_hash"] != two["dataset_hash"]
    assert made(site, "Photos", name="photos")["error"]["kind"] == "conflict"


def test_a_state_of_a_later_penstock_is_refused(site):
    with site.context.database.transaction() as connection:
        connection.execute("PRAGMA user_version = 99")
    with pytest.raises(FormatTooNewError):
        type(site.context.database)(site.context.database.path)


def test_a_signed_token_is_believed_for_its_purpose_and_time_alone(site):
    secret = site.context.secret
    token = secret.sign("file", ("a", "b"), 60)
    assert secret.check("file", token) == ("a", "b")
    for purpose, text in (
        ("other", token),
        ("file", token[:-2] + "AA"),
        ("file", ""),
        ("file", secret.sign("file", (), -1)),
    ):
        with pytest.raises(AccessError):
            secret.check(purpose, text)


def test_nobody_is_trusted_where_others_reach_the_server(site):
    from penstock.catalogue.serving import make_context

    with pytest.raises(UsageError, match="nobody is trusted"):
        make_context(
            ["demo"], site.context.catalogues.settings, site.context.database, host="0.0.0.0", is_trusting=True
        )


def test_the_program_serves_until_it_is_told_to_end(demo, tmp_path):
    arguments = [
        sys.executable,
        "-m",
        "penstock",
        "serve",
        demo,
        "--port",
        "0",
        "--state",
        str(tmp_path / "s"),
        "--json",
    ]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        url = json.loads(process.stdout.readline())["url"]
        assert urllib3.request("GET", f"{url}/health", timeout=60).status == 200
        process.send_signal(signal.SIGTERM)
        _, log = process.communicate(timeout=60)
    assert process.returncode == 0
    lines = [json.loads(line) for line in log.splitlines() if line.startswith(b"{")]
    assert [(line["route"], line["status"]) for line in lines] == [("/health", 200)]
