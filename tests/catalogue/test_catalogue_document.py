"""The owner's document about datasets, replayed against a server of a directory and of S3: each call runs, or departs.

What it calls is parsed out of it: methods that it names, blocks of code, programs that it includes and what they print.
One that is neither run nor listed here fails, and so does a departure that the document does not have.
"""

from __future__ import annotations

import json
import re
import textwrap
import warnings
from pathlib import Path
from typing import Any

import pytest
from servers.catalogue import running
from trees.media import image, video

import penstock
from penstock.catalogue.client import UserClient
from penstock.catalogue.client.tasks import wait_for
from penstock.catalogue.orm.dataset import DatasetScope, StorageLocation
from penstock.progress import SILENT

TEXT = (Path(__file__).resolve().parents[1] / "documents" / "catalogue.rst").read_text()
OURS = {
    "encord": ("penstock.catalogue", "the package is called so"),
    "path/to/your/": ("", "files of the test"),
    "<video1_data_hash>": ("{video}", "a row of the test"),
    "<image_group1_data_hash>": ("{group}", "a row of the test"),
    "video1_data_hash": ("{video}", "a row of the test"),
    "video2_data_hash": ("foreign", "one that is not of the dataset: it is ignored"),
}
"""Words of its programs that are others here, and why; in this order."""
DEPARTURES = {
    "dataset = Dataset()": "only there so that its pages have links: a dataset has an address",
    "EncordUserClient": "it is called UserClient; `Catalogue` has the same calls on buckets, without a server",
    "soon to be deprecated API keys": "keys are how a third party is given a dataset here",
    "It is also possible to create or get": "a key is kept as a hash: to get the master key again is to make it anew",
    'api_key="<api_key>"': "what is listed is the public id of a key; the key itself is told once, as `secret`",
    "will be removed from the Encord-hosted storage": "a deletion is a version: it is undone by `revert`, and gc frees",
    "result=[": "signed_url is null where a bucket is used without a server",
    "We provide a browser test": "the page of a video has it",
}
INCLUDED = {
    "creating_a_dataset.py": """
        from penstock.catalogue.orm.dataset import StorageLocation
        value = user_client.create_dataset("Example Title", storage)
        """,
    "listing_existing_datasets.py": """
        value = user_client.get_datasets()
        """,
    "creating_a_dataset_object.py": """
        dataset = user_client.get_dataset(dataset_hash)
        """,
    "add_private_data.py": """
        integrations = user_client.get_cloud_integrations()
        integration = [each.id for each in integrations if each.title.startswith("lab")][0]
        value = dataset.add_private_data_to_dataset(integration, "private_files.json")
        """,
    "add_private_data_with_safe_retries.py": """
        for _ in range(2):
            value = dataset.add_private_data_to_dataset(integration, private_files, ignore_errors=True)
        """,
    "creating_a_master_api_key.py": """
        value = user_client.get_or_create_dataset_api_key(dataset_hash)
        """,
    "creating_a_dataset_api_key.py": """
        from penstock.catalogue.orm.dataset import DatasetScope
        scopes = [DatasetScope.READ, DatasetScope.WRITE]
        value = user_client.create_dataset_api_key(dataset_hash, "Example api key title", scopes)
        """,
    "fetching_dataset_api_keys.py": """
        value = user_client.get_dataset_api_keys(dataset_hash)
        """,
}
"""Programs that the document includes, whose texts it has not: what they are by what is said of them."""


def methods() -> set[str]:
    """Return the methods and arguments that the document names."""
    found = set()
    for role in re.findall(r":meth:`([^`]+)`", TEXT):
        shown = role.split("<")[0] if "<" in role else role
        found.add(re.sub(r"\(.*\)", "", shown.strip()).rpartition(".")[2])
    return found


def blocks() -> list[str]:
    """Return the blocks of Python, and what is printed, as they stand, without what only makes links."""
    found = []
    for indent, body in re.findall(r"^( *)\.\. code-block::[^\n]*\n\n((?:\1    [^\n]*\n|\n)+)", TEXT, re.MULTILINE):
        assert body.startswith(indent)
        found.append(textwrap.dedent(body).strip())
    return found


def is_output(block: str) -> bool:
    return block.startswith(("{", "[", "Dataset", "ReEncode", "1337"))


def fields(text: str) -> list[str]:
    """Return the names of fields, in their order, that a printed value has; of a list those of the first."""
    names = re.findall(r"\b([a-z_]+)=|[\"']([a-z_]+)[\"']:", text)
    flat = [one or other for one, other in names]
    return [name for name in dict.fromkeys(flat) if name != "tzinfo"]  # of a time


def test_the_document_is_read_whole():
    assert len(blocks()) == 12
    assert {Path(name).name for name in re.findall(r"literalinclude:: (\S+)", TEXT)} == INCLUDED.keys()
    for words in (*DEPARTURES, *OURS):
        assert words in TEXT, words


class Replay:
    """Runs programs in one set of names, and notes what they call."""

    def __init__(self, names: dict[str, Any]) -> None:
        self.names = names
        self.ran = ""
        self.outputs = [each for each in blocks() if is_output(each)]

    def run(self, program: str) -> Any:
        for words, (ours, _) in OURS.items():
            program = program.replace(words, ours)
        program = program.replace("{video}", self.names.get("video", "")).replace(
            "{group}", self.names.get("group", "")
        )
        self.names.pop("value", None)
        exec(compile(program, "document", "exec"), self.names)
        self.ran += program
        return self.names.get("value")

    def included(self, name: str) -> Any:
        return self.run(textwrap.dedent(INCLUDED[name]))

    def block(self, start: str) -> Any:
        (found,) = [each for each in blocks() if each.startswith(start)]
        return self.run(found)

    def prints_as(self, value: Any, start: str) -> None:
        """Hold a value's fields against those of the next block of output."""
        said = self.outputs.pop(0)
        assert said.startswith(start)
        shown = repr(value)
        assert fields(shown) == fields(said), (shown, said)
        for name in re.findall(r"\b(Dataset\w+|ReEncode\w+)\(", said):
            assert f"{name}(" in shown


@pytest.fixture(params=["directory", pytest.param("s3", marks=pytest.mark.s3)])
def home(request, demo, tmp_path, monkeypatch):
    """Return the bucket that is served, and the JSON of data that lies elsewhere."""
    monkeypatch.chdir(tmp_path)
    video(tmp_path / "video.mp4")
    image(tmp_path / "img1.jpeg", (192, 108))
    image(tmp_path / "img2.jpeg", (128, 72))
    if request.param == "directory":
        (tmp_path / "lab").mkdir()
        video(tmp_path / "lab" / "far.mp4")
        penstock.add_remote("lab", str(tmp_path / "lab"))
        with open(Path(penstock.Settings.load().config_path), "a") as config:
            config.write(f'\n[trust]\nlocal = ["{tmp_path}/lab"]\n')
        return demo, StorageLocation.CORD_STORAGE, f"file://{tmp_path}/lab/far.mp4"
    gateway, bucket = request.getfixturevalue("gateway"), request.getfixturevalue("bucket")
    request.getfixturevalue("aws_environment")
    gateway.make_bucket(f"{bucket}-lab")
    body = video(tmp_path / "far.mp4").read_bytes()
    assert gateway.request("PUT", f"/{bucket}-lab/far.mp4", body).status == 200
    for name, address in (("cloud", bucket), ("lab", f"{bucket}-lab")):
        penstock.add_remote(name, f"s3://{address}", endpoint_url=gateway.endpoint)
    return "cloud", StorageLocation.AWS, f"s3://{bucket}-lab/far.mp4"


def test_the_calls_of_the_document_do_what_it_says(home, tmp_path):
    bucket, storage, far = home
    private_files = {"videos": [{"objectUrl": far}], "skip_duplicate_urls": True}
    (tmp_path / "private_files.json").write_text(json.dumps(private_files))
    with running(tmp_path / "state", bucket, is_trusting=False) as site:
        key = site.context.keys.create("admin", list(DatasetScope), is_admin=True).secret
        client = UserClient.create_with_key(key, url=site.url)
        replay = Replay({"user_client": client, "storage": storage, "private_files": private_files})
        names = replay.names

        created = replay.included("creating_a_dataset.py")
        replay.prints_as(created, "{")
        assert (created["title"], created["type"]) == ("Example Title", int(storage))
        names["dataset_hash"] = created["dataset_hash"]
        listed = replay.included("listing_existing_datasets.py")
        replay.prints_as(listed, "[")
        assert [each["dataset"].dataset_hash for each in listed] == [created["dataset_hash"]]
        assert repr(listed[0]["user_role"]) == "DatasetUserRole.ADMIN"
        assert replay.run('value = user_client.get_datasets(title_like="Validation%")') == []
        before = 'value = user_client.get_datasets(created_before="2100-01-01", edited_after="2000-01-01")'
        assert len(replay.run(before)) == 1
        assert replay.run('value = user_client.get_datasets(created_before="2000-01-01")') == []
        replay.included("creating_a_dataset_object.py")
        dataset = names["dataset"]

        replay.block("dataset.upload_video(")
        replay.block("dataset.create_image_group(")
        done = replay.included("add_private_data.py")
        assert (len(done.added), dict(done.errors)) == (1, {})
        again = replay.included("add_private_data_with_safe_retries.py")
        assert (again.added, again.present) == ((), done.added)

        rows = replay.run("value = dataset.data_rows")
        assert sorted(each.data_type.value for each in rows) == ["img_group", "img_group", "video", "video"]
        names["video"] = next(each.uid for each in rows if each.title == "video.mp4")
        names["group"] = next(each.uid for each in rows if each.data_type.value == "img_group")
        with pytest.warns(UserWarning, match="1 rows are not of"):
            replay.block("task_id = dataset.re_encode_data(")
        assert isinstance(names["task_id"], int)
        assert replay.outputs.pop(0).startswith("1337")
        wait_for(lambda: dataset.task(names["task_id"]), SILENT)
        replay.block("from encord.orm.dataset import ReEncodeVideoTask")
        task = names["task"]
        assert task.status == "DONE"
        replay.prints_as(task, "ReEncodeVideoTask(")
        sent = site.ask("GET", task.result[0].signed_url.removeprefix(site.url))
        assert sent.body[4:8] == b"ftyp"

        master = replay.included("creating_a_master_api_key.py")
        replay.prints_as(master, "DatasetAPIKey(")
        assert (master.title, master.scopes) == ("", [DatasetScope.READ, DatasetScope.WRITE])
        own = replay.included("creating_a_dataset_api_key.py")
        replay.prints_as(own, "DatasetAPIKey(")
        found = replay.included("fetching_dataset_api_keys.py")
        replay.prints_as(found, "[")
        assert {each.api_key for each in found} == {master.api_key, own.api_key}

        with warnings.catch_warnings():
            warnings.simplefilter("error")
            replay.block("dataset.delete_data(")
        left = [each.uid for each in dataset.data_rows]
        assert len(left) == 3
        assert not {names["video"], names["group"]} & set(left)
        assert replay.outputs == []
        assert [name for name in methods() if f"{name}" not in replay.ran] == []
        client.close()
