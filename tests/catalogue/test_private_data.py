"""Data registered where it lies: whatever is wrong is told of its item, and nothing is asked of anywhere else."""

from __future__ import annotations

import json
import os
from urllib.parse import quote

import pytest
from servers.catalogue import running
from trees.media import image, video

import penstock
from penstock.catalogue.client import Catalogue, Dataset
from penstock.catalogue.datasets.private_data import add_private_data
from penstock.catalogue.datasets.private_spec import locate, parse_spec
from penstock.catalogue.orm.dataset import DatasetScope, DataType
from penstock.errors import AccessError, NotFoundError, UnreadableError, UsageError
from penstock.repo.settings.remote import Remote
from penstock.repo.settings.settings import Settings


@pytest.fixture
def lab(gateway, bucket, aws_environment, tmp_path):
    """Put some images and a video into a bucket of S3 that is a remote called lab."""
    files = {
        "clips/a b.mp4": video(tmp_path / "a.mp4"),
        "one.png": image(tmp_path / "one.png"),
        "two.png": image(tmp_path / "two.png"),
        "wide.png": image(tmp_path / "wide.png", (96, 48)),
    }
    for key, path in files.items():
        assert gateway.request("PUT", f"/{bucket}/{quote(key)}", path.read_bytes()).status == 200
    assert gateway.request("PUT", f"/{bucket}/notes.txt", b"hello").status == 200
    penstock.add_remote("lab", f"s3://{bucket}", endpoint_url=gateway.endpoint)
    return bucket


@pytest.fixture
def dataset(demo, tmp_path):
    with Catalogue.open(demo, state=str(tmp_path / "local-state")) as catalogue:
        yield catalogue.get_dataset(catalogue.create_dataset("Films")["dataset_hash"])


def spec_of(bucket):
    return {
        "videos": [{"objectUrl": f"s3://{bucket}/clips/a%20b.mp4", "title": "A", "clientMetadata": {"site": "B"}}],
        "images": [{"objectUrl": f"s3://{bucket}/one.png"}],
        "image_groups": [
            {
                "title": "G",
                "objectUrl_1": f"s3://{bucket}/wide.png",
                "objectUrl_0": f"s3://{bucket}/two.png",
                "objectUrl_10": f"s3://{bucket}/one.png",
            }
        ],
        "skip_duplicate_urls": True,
    }


@pytest.mark.s3
def test_data_is_registered_where_it_lies_once(lab, dataset, tmp_path, gateway):
    spec = spec_of(lab)
    done = dataset.add_private_data_to_dataset("lab", spec)
    assert (len(done.added), done.present, done.errors) == (4, (), {})
    rows = {row.title: row for row in dataset.data_rows}
    assert (rows["A"].data_type, rows["A"].frames, rows["A"].client_metadata) == (DataType.VIDEO, 25, {"site": "B"})
    groups = {title: (row.width, row.frames) for title, row in rows.items() if row.data_type is DataType.IMG_GROUP}
    assert groups == {"G-64x48": (64, 2), "G-96x48": (96, 1)}
    package = penstock.open("demo/films")
    assert package.read(rows["A"].path) == (tmp_path / "a.mp4").read_bytes()
    assert [place.uri for place in package.entry(rows["A"].path).physical_keys] == [f"s3://{lab}/clips/a%20b.mp4"]
    assert [each.name for each in package.ls(rows["G-64x48"].path)] == ["000000-two.png", "000001-one.png"]
    data = os.path.join(tmp_path, "store", ".penstock", "data")
    assert not os.path.isdir(data) or not any(files for _, _, files in os.walk(data))
    # Again, from a file, as the document's script does: nothing changes.
    (tmp_path / "spec.json").write_text(json.dumps(spec))
    again = dataset.add_private_data_to_dataset("lab", str(tmp_path / "spec.json"))
    assert (again.added, len(again.present), again.top_hash) == ((), 3, done.top_hash)
    with pytest.raises(UnreadableError, match="3 of 3 items"):
        dataset.add_private_data_to_dataset("lab", {**spec, "skip_duplicate_urls": False})
    # What was registered is never deleted, and once it has changed it is no longer given out.
    dataset.delete_data([rows["A"].uid])
    assert gateway.request("HEAD", f"/{lab}/clips/a%20b.mp4").status == 200
    (tmp_path / "x.png").write_bytes(b"another one, of some other size")
    assert gateway.request("PUT", f"/{lab}/one.png", (tmp_path / "x.png").read_bytes()).status == 200
    from penstock.errors import PenstockError

    with pytest.raises(PenstockError):
        penstock.open("demo/films").read(rows["one.png"].path)


@pytest.mark.s3
def test_what_is_wrong_is_told_of_each_item_and_the_rest_is_added_when_asked_for(lab, dataset):
    top_hash = penstock.Package("demo/films").top_hash
    spec = {
        "videos": [
            {"objectUrl": f"s3://{lab}/clips/a%20b.mp4"},
            {"objectUrl": f"s3://{lab}/none.mp4"},
            {"objectUrl": f"s3://{lab}/one.png"},
            {"objectURL": "s3://x/y"},
            "s3://x/y",
        ],
        "images": [{"objectUrl": "s3://somebody-elses/a.png"}, {"objectUrl": f"s3://{lab}/notes.txt"}],
        "image_groups": [{"title": "G", "objectUrl_0": f"s3://{lab}/two.png", "objectUrl_1": f"s3://{lab}/none.png"}],
    }
    with pytest.raises(UnreadableError, match="7 of 8 items") as refused:
        dataset.add_private_data_to_dataset("lab", spec)
    told = dict(each.partition(": ")[::2] for each in refused.value.candidates)
    assert told.keys() == {f"videos[{n}]" for n in (1, 2, 3, 4)} | {"images[0]", "images[1]", "image_groups[0]"}
    assert "no object" in told["videos[1]"]
    assert "of the kind image" in told["videos[2]"]
    assert "'objectURL' is not known" in told["videos[3]"]
    assert "not in lab" in told["images[0]"]
    assert penstock.Package("demo/films").top_hash == top_hash
    done = dataset.add_private_data_to_dataset("lab", spec, ignore_errors=True)
    assert (len(done.added), done.errors.keys()) == (1, told.keys())
    assert [row.title for row in dataset.data_rows] == ["a b.mp4"]
    with pytest.raises(NotFoundError, match="no integration 'none'"):
        dataset.add_private_data_to_dataset("none", spec)


@pytest.mark.s3
def test_work_that_was_done_and_not_noted_is_done_once(lab, dataset):
    spec = parse_spec({**spec_of(lab), "skip_duplicate_urls": False})
    rows, settings = dataset._driver._rows, Settings.load()
    first, second = (
        add_private_data(rows, settings, "lab", spec, named=lambda place: f"the row of {place}") for _ in range(2)
    )
    assert set(second.added) == set(first.added) - {"the row of image_groups[0]-96x48"}
    assert first.top_hash == second.top_hash


@pytest.mark.s3
def test_a_key_registers_from_the_integrations_that_it_may_use_alone(lab, dataset, demo, tmp_path):
    penstock.add_remote("private", f"s3://{lab}/clips", endpoint_url=os.environ["AWS_ENDPOINT_URL"])
    with running(tmp_path / "state", demo, is_trusting=False, integrations=("lab",)) as site:
        keys = site.context.keys
        own = Dataset(f"{site.url}/demo/films", key=keys.create("", list(DatasetScope), dataset.dataset_hash).secret)
        reads = Dataset(f"{site.url}/demo/films", key=keys.create("", [DatasetScope.READ], dataset.dataset_hash).secret)
        assert [each.id for each in own.get_cloud_integrations()] == ["lab"]
        task = own.add_private_data_to_dataset_start("lab", spec_of(lab))
        done = own.add_private_data_to_dataset_get_result(task, timeout_seconds=300)
        assert len(done.added) == 4
        assert own.add_private_data_to_dataset("lab", spec_of(lab)).added == ()
        with pytest.raises(UnreadableError) as refused:
            own.add_private_data_to_dataset("lab", {"videos": [{"objectUrl": f"s3://{lab}/none.mp4"}]})
        assert [each.partition(":")[0] for each in refused.value.candidates] == ["videos[0]"]
        for client, name in ((own, "private"), (own, "demo"), (reads, "lab")):
            with pytest.raises(AccessError):
                client.add_private_data_to_dataset(name, spec_of(lab))
        with pytest.raises(AccessError):
            reads.get_cloud_integrations()
        with pytest.raises(UsageError, match="videos is no list"):
            own.add_private_data_to_dataset("lab", {"videos": "films"})
        (tmp_path / "no.json").write_text("{")
        with pytest.raises(UsageError, match="is no JSON"):
            own.add_private_data_to_dataset("lab", tmp_path / "no.json")


def test_files_of_this_machine_are_registered_where_that_is_allowed(demo, tmp_path, monkeypatch):
    folder = tmp_path / "films"
    folder.mkdir()
    video(folder / "a.mp4")
    penstock.add_remote("films", str(folder))
    spec = {"videos": [{"objectUrl": f"file://{folder}/a.mp4"}, {"objectUrl": f"file://{tmp_path}/elsewhere.mp4"}]}
    with Catalogue.open(demo) as catalogue:
        dataset = catalogue.get_dataset(catalogue.create_dataset("Local")["dataset_hash"])
        done = dataset.add_private_data_to_dataset("films", spec, ignore_errors=True)
        assert ("no folder" in done.errors["videos[0]"], "not in films" in done.errors["videos[1]"]) == (True, True)
    with open(os.environ["PENSTOCK_CONFIG"], "a") as config:
        config.write(f'\n[trust]\nlocal = ["{folder}"]\n')
    with Catalogue.open(demo) as catalogue:
        dataset = catalogue.get_dataset("local")
        assert len(dataset.add_private_data_to_dataset("films", spec, ignore_errors=True).added) == 1
        package = penstock.open("demo/local")
        assert package.read("a.mp4") == (folder / "a.mp4").read_bytes()
        assert package.entry("a.mp4").physical_keys[0].uri == f"file://{folder}/a.mp4"


AWS = Remote(name="aws", url="s3://films/below")
LAB = Remote(name="lab", url="s3://films", endpoint_url="https://s3.lab.example:8443")
HERE = Remote(name="here", url="file:///srv/films")


@pytest.mark.parametrize(
    ("remote", "url", "address"),
    [
        (AWS, "s3://films/below/a.mp4", "s3://films/below/a.mp4"),
        (AWS, "https://films.s3.eu-west-1.amazonaws.com/below/a%20b.mp4", "s3://films/below/a%20b.mp4"),
        (AWS, "https://s3.eu-west-1.amazonaws.com/films/below/a.mp4", "s3://films/below/a.mp4"),
        (AWS, "https://films.s3.amazonaws.com/below/a.mp4", "s3://films/below/a.mp4"),
        (LAB, "https://s3.lab.example:8443/films/a.mp4", "s3://films/a.mp4"),
        (HERE, "file:///srv/films/a%20b.mp4", "/srv/films/a b.mp4"),
    ],
)
def test_an_address_leads_into_its_remote(remote, url, address):
    assert locate(url, remote).address == address


@pytest.mark.parametrize(
    ("remote", "url"),
    [
        (AWS, "s3://films/elsewhere/a.mp4"),
        (AWS, "s3://films/below/../secret.mp4"),
        (AWS, "s3://films/belowother/a.mp4"),
        (AWS, "s3://other/below/a.mp4"),
        (AWS, "https://films.s3.amazonaws.com.evil.example/below/a.mp4"),
        (AWS, "https://evil.example/films/below/a.mp4"),
        (AWS, "http://169.254.169.254/latest/meta-data"),
        (AWS, "https://user:password@films.s3.amazonaws.com/below/a.mp4"),
        (AWS, "s3://films/below/a.mp4?versionId=1"),
        (AWS, "file:///etc/passwd"),
        (LAB, "https://films.s3.amazonaws.com/a.mp4"),
        (LAB, "https://s3.lab.example/films/a.mp4"),
        (LAB, "s3://films/.penstock/data/00/00"),
        (LAB, "s3://films/"),
        (LAB, "s3://[films/a.mp4"),
        (LAB, "gopher://films/a"),
        (LAB, ""),
        (HERE, "file:///srv/films/../../etc/passwd"),
        (HERE, "file:///srv/films/%2e%2e/passwd"),
        (HERE, "file://host/srv/films/a.mp4"),
        (HERE, "file:///etc/passwd"),
        (HERE, "/srv/films/a.mp4"),
    ],
)
def test_an_address_leads_nowhere_else(remote, url):
    with pytest.raises(UsageError):
        locate(url, remote)


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ({"movies": []}, "'movies' is not known"),
        ({"videos": {}}, "videos is no list"),
        ({"skip_duplicate_urls": "yes"}, "skip_duplicate_urls is 'yes'"),
    ],
)
def test_a_spec_that_makes_no_sense_says_which_field(said, words):
    with pytest.raises(UsageError, match=words):
        parse_spec(said)


@pytest.mark.parametrize(
    ("field", "item", "words"),
    [
        ("videos", {}, "'objectUrl' is missing"),
        ("videos", {"objectUrl": 3}, "objectUrl is no address"),
        ("videos", {"objectUrl": "s3://a/b", "title": []}, "title is no text"),
        ("images", {"objectUrl": "s3://a/b", "clientMetadata": "x"}, "clientMetadata is no object"),
        ("image_groups", {"objectUrl": "s3://a/b"}, "'objectUrl' is not known"),
        ("image_groups", {"title": "G"}, "'objectUrl_0' is missing"),
        ("image_groups", {"objectUrl_0": "s3://a/b", "createVideo": True}, "createVideo is not done"),
        ("images", None, "no object"),
    ],
)
def test_an_item_that_makes_no_sense_says_which_field(field, item, words):
    spec = parse_spec({field: [{"objectUrl": "s3://a/b", "objectUrl_0": "s3://a/b"}, item]})
    assert words in spec.errors[f"{field}[1]"]
