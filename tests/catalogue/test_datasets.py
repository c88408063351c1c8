"""Datasets as programs and the command line meet them: over a directory, and over a real S3 server."""

from __future__ import annotations

import datetime as dt
import json

import pytest
from click.testing import CliRunner
from PIL import Image
from servers.catalogue import running

import penstock
from penstock.catalogue.client import Catalogue
from penstock.catalogue.datasets.dataset_filter import is_like
from penstock.catalogue.orm.dataset import (
    DatasetInfo,
    DatasetScope,
    DatasetUserRole,
    ReEncodeVideoTask,
    ReEncodeVideoTaskResult,
    StorageLocation,
)
from penstock.catalogue.orm.dataset_api_keys import DatasetAPIKey
from penstock.cli.main import root
from penstock.errors import AccessError, NotFoundError, UsageError


def test_values_print_as_they_are_documented():
    scopes = [DatasetScope.READ, DatasetScope.WRITE]
    key = DatasetAPIKey("<dataset_hash>", "<api_key>", "", scopes, "secret")
    assert repr(key) == (
        "DatasetAPIKey(dataset_hash='<dataset_hash>', api_key='<api_key>', title='', "
        "scopes=[DatasetScope.READ, DatasetScope.WRITE])"
    )
    result = ReEncodeVideoTaskResult("<data_hash>", None, "<bucket_path>")
    assert repr(ReEncodeVideoTask("DONE", [result])) == (
        "ReEncodeVideoTask(status='DONE', result=[ReEncodeVideoTaskResult(data_hash='<data_hash>', "
        "signed_url=None, bucket_path='<bucket_path>')])"
    )
    when = dt.datetime(2026, 11, 30, tzinfo=dt.UTC)
    shown = repr(DatasetInfo("<dataset_hash>", "<user_hash>", "Example title", "", 0, when, when, "name"))
    assert shown.startswith("DatasetInfo(dataset_hash='<dataset_hash>', user_hash='<user_hash>', title='Example title'")
    assert shown.endswith("last_edited_at=datetime.datetime(2026, 11, 30, 0, 0, tzinfo=datetime.timezone.utc))")
    assert repr(DatasetUserRole.ADMIN) == "DatasetUserRole.ADMIN"


def test_what_is_like_a_pattern():
    assert is_like("Valid_tion%", "validation of a\nb")
    assert not is_like("Valid_tion%", "A validation")
    assert is_like(r"100\%", "100%")
    assert not is_like(r"100\%", "1000")
    assert is_like("%", "") and is_like("a%a", "aa") and not is_like("a%a", "a")
    assert is_like("%b%d%", "abcde") and not is_like("%d%b%", "abcde") and is_like("%de", "abcdede")
    assert not is_like("%a" * 400 + "%b", "a" * 60_000)  # in no time, where a regular expression would hang


def test_datasets_are_found_by_what_is_said_of_them(demo):
    with Catalogue.open(demo) as catalogue:
        created = catalogue.create_dataset("Validation A", StorageLocation.CORD_STORAGE, "of spring")
        assert set(created) == {"title", "type", "dataset_hash", "user_hash"}
        catalogue.create_dataset("Training", None, "of autumn")
        (only,) = catalogue.get_datasets(title_like="Validation%")
        info = only["dataset"]
        assert only["user_role"] is DatasetUserRole.ADMIN
        assert (info.title, info.description, info.user_hash) == ("Validation A", "of spring", created["user_hash"])
        titles = lambda **said: [each["dataset"].title for each in catalogue.get_datasets(**said)]  # noqa: E731
        assert titles(title_eq="Training") == titles(desc_like="%autumn") == ["Training"]
        later = info.created_at + dt.timedelta(days=1)
        assert titles(created_after=later) == titles(edited_before="2001-01-01") == []
        assert titles(created_before=later, edited_after="2001-01-01") == ["Training", "Validation A"]
        assert catalogue.get_dataset("training").title == "Training"
        assert catalogue.get_dataset(created["dataset_hash"]).title == "Validation A"
        with pytest.raises(NotFoundError):
            catalogue.get_dataset("none")
        with pytest.raises(UsageError, match="no bucket here"):
            catalogue.create_dataset("x", StorageLocation.AZURE)


def test_a_dataset_that_was_only_pushed_is_listed_too(demo, tmp_path):
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "a.txt").write_text("a")
    penstock.Dataset("demo/plain").push(tmp_path / "d")
    with Catalogue.open(demo) as catalogue:
        (only,) = catalogue.get_datasets()
    assert (only["dataset"].title, only["dataset"].entries, only["dataset"].bytes) == ("plain", 1, 1)


def test_the_command_line_lists_a_bucket(demo):
    with Catalogue.open(demo) as catalogue:
        catalogue.create_dataset("Photos", None, "of all sites")
    found = CliRunner().invoke(root, ["list", demo, "--json", "--title", "pho%"])
    assert [json.loads(line)["handle"] for line in found.stdout.splitlines()] == ["demo/photos"]
    assert "Photos" in CliRunner().invoke(root, ["list", demo]).stdout
    assert CliRunner().invoke(root, ["list", demo, "--sort", "colour"]).exit_code == 2


@pytest.mark.s3
def test_a_bucket_of_s3_is_a_catalogue_and_a_third_party_reads_it_by_key(
    bucket, aws_environment, tmp_path, monkeypatch
):
    path = tmp_path / "a.png"
    Image.new("RGB", (64, 48)).save(path)
    with Catalogue.open(bucket) as catalogue:
        created = catalogue.create_dataset("Example Title", StorageLocation.AWS)
        assert created["type"] == 1
        dataset = catalogue.get_dataset(created["dataset_hash"])
        row = dataset.upload_image(path)
        assert (row.width, row.storage_location) == (64, StorageLocation.AWS)
        other = catalogue.create_dataset("Other")
        assert [each["user_role"] for each in catalogue.get_datasets()] == [DatasetUserRole.ADMIN] * 2
        with running(tmp_path / "state", bucket, is_trusting=False) as site:
            key = site.context.keys.create("", [DatasetScope.READ], created["dataset_hash"]).secret
            monkeypatch.setenv("PENSTOCK_KEY", key)
            monkeypatch.setenv("PENSTOCK_CACHE_DIR", str(tmp_path / "other-cache"))
            assert penstock.open(f"{site.url}/{bucket}/example-title").read(row.path) == path.read_bytes()
            with pytest.raises(AccessError):
                penstock.open(f"{site.url}/{bucket}/other")
            assert site.ask("GET", f"/api/datasets/{other['dataset_hash']}", key=key).status == 403
