"""Listings that repeat, go backwards, leave out or never end: an error each, never the end and never without one."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from urllib.parse import parse_qs, urlsplit

import pytest
from servers.faultproxy import Answer, FaultProxy, Rewrite, Status

from penstock.errors import StoreUnreachableError
from penstock.store import Store, StoreOptions, open_store

pytestmark = pytest.mark.s3

OPTIONS = StoreOptions(connect_timeout=2.0, read_timeout=2.0, deadline=8.0, max_attempts=5)
ALWAYS = 1_000_000
ITEM = "<Contents><Key>{}</Key><Size>1</Size><LastModified>2026-01-01T00:00:00.000Z</LastModified>"
ITEM += '<ETag>"e"</ETag></Contents>'


@pytest.fixture
def store(bucket: str, aws_environment: dict[str, str], fault_proxy: FaultProxy) -> Iterator[Store]:
    with open_store(f"s3://{bucket}") as direct:
        for name in ("a", "b/1", "b/2", "c"):
            direct.put(f"in/{name}", b"x")
    with open_store(f"s3://{bucket}/in", replace(OPTIONS, endpoint_url=fault_proxy.endpoint)) as opened:
        yield opened


def page(*keys: str, folders: tuple[str, ...] = (), more: str | None = "", truncated: str | None = None) -> Status:
    body = "<ListBucketResult>" + "".join(ITEM.format(key) for key in keys)
    body += "".join(f"<CommonPrefixes><Prefix>{folder}</Prefix></CommonPrefixes>" for folder in folders)
    body += f"<NextContinuationToken>{more}</NextContinuationToken>" if more else ""
    if truncated is None:
        truncated = "true" if more else "false"
    body += f"<IsTruncated>{truncated}</IsTruncated>" if truncated else ""
    return Status(200, (body + "</ListBucketResult>").encode(), (("Content-Type", "application/xml"),))


def refused(store: Store, saying: str, *, level: bool = False) -> None:
    with pytest.raises(StoreUnreachableError, match=saying) as caught:
        if level:
            store.list_level()
        else:
            list(store.list())
    assert "cannot list" in caught.value.what


def token_of(path: str) -> str:
    return parse_qs(urlsplit(path).query).get("continuation-token", [""])[0]


def test_a_page_that_is_what_it_should_be(store: Store, fault_proxy: FaultProxy) -> None:
    fault_proxy.fail(fault=page("in/a", more="t"), match=lambda _, path: not token_of(path))
    fault_proxy.fail(fault=page(more="u"), match=lambda _, path: token_of(path) == "t")
    fault_proxy.fail(fault=page("in/b", "in/c"), match=lambda _, path: token_of(path) == "u")
    assert [info.key for info in store.list()] == ["a", "b", "c"]


@pytest.mark.regress
def test_a_page_that_repeats(store: Store, fault_proxy: FaultProxy) -> None:
    """A cache that looks at nothing but the path gives the first page for each."""
    fault_proxy.fail(fault=page("in/a", "in/b", more="t"), times=ALWAYS)
    refused(store, "a page that repeats")
    refused(store, "a page that repeats", level=True)
    assert fault_proxy.count("GET") == 8


@pytest.mark.regress
def test_pages_with_nothing_on_them_that_never_end(store: Store, fault_proxy: FaultProxy) -> None:
    fault_proxy.fail(fault=page(more="t"), times=ALWAYS)
    refused(store, "in circles")
    fault_proxy.heal()
    for number in range(200):
        fault_proxy.fail(fault=page(more=f"t{number}"))
    refused(store, "nothing on them")


@pytest.mark.regress
@pytest.mark.parametrize("keys", [("in/b", "in/a"), ("in/a", "in/a"), ("in/b", "in/B")])
def test_keys_out_of_order(store: Store, fault_proxy: FaultProxy, keys: tuple[str, ...]) -> None:
    fault_proxy.fail(fault=page(*keys), times=ALWAYS)
    refused(store, "out of order")


@pytest.mark.regress
def test_a_server_that_ignores_where_to_start(store: Store, fault_proxy: FaultProxy) -> None:
    fault_proxy.fail(fault=page("in/a", "in/c"), times=ALWAYS)
    with pytest.raises(StoreUnreachableError, match="out of order"):
        list(store.list(start_after="b"))


@pytest.mark.regress
def test_keys_from_elsewhere(store: Store, fault_proxy: FaultProxy) -> None:
    fault_proxy.fail(fault=page("elsewhere/a"), times=ALWAYS)
    refused(store, "elsewhere/a")
    refused(store, "elsewhere/a", level=True)


@pytest.mark.regress
@pytest.mark.parametrize("folder", ["elsewhere/", "in/", "in/b", "in/b/c/", ""])
def test_folders_that_are_none(store: Store, fault_proxy: FaultProxy, folder: str) -> None:
    fault_proxy.fail(fault=page(folders=(folder,)), times=ALWAYS)
    refused(store, "folder", level=True)


@pytest.mark.regress
def test_a_folder_twice(store: Store, fault_proxy: FaultProxy) -> None:
    fault_proxy.fail(fault=page(folders=("in/a/", "in/a/")), times=ALWAYS)
    refused(store, "out of order", level=True)


@pytest.mark.regress
def test_a_listing_that_is_cut_short_is_not_the_end(store: Store, fault_proxy: FaultProxy) -> None:
    fault_proxy.fail(fault=page("in/a", truncated="true"), times=ALWAYS)
    refused(store, "there is more")
    fault_proxy.heal()
    fault_proxy.fail(fault=page("in/a", truncated=""), times=ALWAYS)
    refused(store, "whether there is more")
    fault_proxy.heal()
    fault_proxy.fail(fault=Status(200, b"", ()), times=ALWAYS)
    refused(store, "whether there is more")


@pytest.mark.regress
@pytest.mark.parametrize("name", ["Key", "Size"])
def test_what_an_object_must_have(store: Store, fault_proxy: FaultProxy, name: str) -> None:
    def change(answer: Answer) -> None:
        answer.body = re.sub(rb"<%s>[^<]*</%s>" % (name.encode(), name.encode()), b"", answer.body)

    fault_proxy.fail(fault=Rewrite(change), times=ALWAYS)
    with pytest.raises(StoreUnreachableError, match="answered something else"):
        list(store.list())


@pytest.mark.regress
@pytest.mark.parametrize(
    "change", [("<Size>1<", "<Size>one<"), ("<Size>1<", "<Size>-1<"), ("2026-01-01T00:00:00.000Z", "long ago")]
)
def test_numbers_and_times_that_are_none(store: Store, fault_proxy: FaultProxy, change: tuple[str, str]) -> None:
    whole = page("in/a")
    fault_proxy.fail(fault=replace(whole, body=whole.body.decode().replace(*change).encode()), times=ALWAYS)
    with pytest.raises(StoreUnreachableError, match="answered something else"):
        list(store.list())


def test_what_was_bent_once_is_asked_for_again(store: Store, fault_proxy: FaultProxy) -> None:
    fault_proxy.fail(fault=page("in/b", "in/a"), times=2)
    assert [info.key for info in store.list()] == ["a", "b/1", "b/2", "c"]


ODD: list[Callable[[str], str]] = [lambda name: f"{name}+ %41&é", lambda name: f"{name}\U0001f600", lambda name: name]


def test_more_folders_and_keys_than_a_page_holds(bucket: str, store: Store, aws_environment: dict[str, str]) -> None:
    """What is checked of each page holds for a real server, in odd characters too."""
    names = [ODD[number % 3](f"{number:04}") for number in range(45)]
    with open_store(f"s3://{bucket}/odd") as direct:
        for name in names:
            direct.put(f"{name}/x", b"")
            direct.put(f"{name}-", b"")
    with open_store(f"s3://{bucket}/odd") as direct:
        from penstock.store.s3 import s3_names

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(s3_names, "_LARGEST_PAGE", 7)
            level = direct.list_level()
            assert sorted(level.folders, key=str.encode) == sorted(names, key=str.encode)
            assert [info.key for info in level.objects] == sorted((f"{name}-" for name in names), key=str.encode)
            assert len(list(direct.list())) == 90
