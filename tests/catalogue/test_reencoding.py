"""Re-encoding: frame n stays frame n, each video has a fate of its own, and nothing leads anywhere else."""

from __future__ import annotations

import http.server
import itertools
import os
import signal
import threading
import time

import pytest
from servers.catalogue import running
from trees.media import film, frames_of, image, samples_of, video

import penstock
from penstock.catalogue.client import Catalogue, Dataset
from penstock.catalogue.jobs.video_encoder import encode_video
from penstock.catalogue.orm.dataset import DatasetScope, FramesSource
from penstock.catalogue.rows.probe import Prober
from penstock.catalogue.rows.probe_messages import Unknown
from penstock.errors import CancelledError


def encoded(source, target, told=lambda count: None, **options):
    body = source.read_bytes()
    return encode_video(len(body), lambda offset, length: body[offset : offset + length], str(target), told, **options)


def turned(path, matrix):
    """Have a video shown turned, as a telephone that is held upright does: by the matrix in its track's header."""
    body = bytearray(path.read_bytes())
    place = body.index(b"tkhd") + 4 + 40
    for number, value in enumerate(matrix):
        body[place + 4 * number : place + 4 * number + 4] = (value & 0xFFFFFFFF).to_bytes(4, "big")
    path.write_bytes(body)
    return path


def test_frame_n_is_frame_n_whatever_times_the_source_has(tmp_path):
    times = [0]
    for number in range(29):
        times.append(times[-1] + (10 if number % 3 else 130))
    source = video(tmp_path / "vfr.mkv", 30, times=times)
    told = []
    made = encoded(source, tmp_path / "made.mp4", told.append)
    assert (made.frames, made.width, made.height, made.lost) == (30, 64, 48, 0)
    before, after = frames_of(source), frames_of(tmp_path / "made.mp4")
    assert len(after) == len(before) == 30
    assert all(abs(one[2] - other[2]) <= 3 for one, other in zip(before, after, strict=True))
    steps = {later[3] - earlier[3] for earlier, later in itertools.pairwise(after)}
    assert (len(steps), after[0][3]) == (1, 0)
    assert max(told) == 30


@pytest.mark.parametrize(
    ("sound", "suffix", "start"), [("aac", "mp4", 0), ("pcm_s16le", "mkv", 0), ("flac", "mkv", 480)]
)
def test_a_video_keeps_its_sound_beside_the_frame_that_it_was_beside(tmp_path, sound, suffix, start):
    source = film(tmp_path / f"source.{suffix}", sound, start=start)
    made = encoded(source, tmp_path / "made.mp4")
    assert (made.frames, len(frames_of(tmp_path / "made.mp4"))) == (25, 25)
    (_, before, loud_before), (codec, after, loud_after) = samples_of(source), samples_of(tmp_path / "made.mp4")
    assert codec == "aac"
    assert after == pytest.approx(before - start / 1000, abs=0.1)
    assert loud_after == pytest.approx(loud_before - start / 1000, abs=0.05)


def test_a_video_of_odd_size_that_is_shown_turned_comes_upright_and_even(tmp_path):
    odd = video(tmp_path / "odd.mkv", 3, size=(63, 47), codec="ffv1")
    made = encoded(odd, tmp_path / "even.mp4")
    assert (made.width, made.height) == (64, 48)
    quarter = turned(video(tmp_path / "turned.mp4", 3), (0, 1 << 16, 0, -1 << 16, 0, 0, 48 << 16, 0, 1 << 30))
    made = encoded(quarter, tmp_path / "upright.mp4")
    assert (made.width, made.height) == (48, 64)


def test_what_is_no_video_is_told_so_and_what_hangs_is_killed(tmp_path):
    (tmp_path / "noise").write_bytes(os.urandom(5000))
    assert isinstance(encoded(tmp_path / "noise", tmp_path / "2.mp4"), Unknown)
    source = video(tmp_path / "a.mp4")
    silent = encoded(source, tmp_path / "3.mp4", silence=0.0)
    assert (type(silent), silent.why) == (Unknown, "the process that encodes it was killed, or took too long")

    def enough(_):
        raise CancelledError("enough")

    with pytest.raises(CancelledError):
        encoded(source, tmp_path / "4.mp4", enough)


class Asked(http.server.BaseHTTPRequestHandler):
    """Notes that somebody asked."""

    def do_GET(self):
        self.server.asked.append(self.path)
        self.send_error(404)

    def log_message(self, *_):
        pass


HLS = "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{url}/segment.ts\n#EXT-X-ENDLIST\n"
CONCAT = "ffconcat version 1.0\nfile '{url}/a.mp4'\n"
DASH = """<?xml version="1.0"?>
<MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static" mediaPresentationDuration="PT1S"><Period>
<AdaptationSet mimeType="video/mp4"><Representation id="1" bandwidth="1"><BaseURL>{url}/a.mp4</BaseURL>
</Representation></AdaptationSet></Period></MPD>
"""


def test_a_playlist_leads_to_no_file_and_no_address(tmp_path):
    secret = video(tmp_path / "secret.mp4", 2)
    with http.server.HTTPServer(("127.0.0.1", 0), Asked) as server:
        server.asked = []
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            address = f"http://127.0.0.1:{server.server_port}"
            with Prober() as prober:
                for text in (HLS, CONCAT, DASH):
                    for url in (address, f"file://{secret}", str(secret.parent)):
                        body = text.replace("{url}", url).encode()
                        found = prober.probe(len(body), lambda at, size, body=body: body[at : at + size])
                        assert isinstance(found, Unknown)
            for number, text in enumerate((HLS, CONCAT)):
                path = tmp_path / f"{number}.m3u8"
                path.write_text(text.replace("{url}", address))
                assert isinstance(encoded(path, tmp_path / f"{number}.mp4"), Unknown)
        finally:
            server.shutdown()
            thread.join()
        assert server.asked == []


def test_no_decoder_is_loaded_by_a_server_or_a_client():
    import subprocess
    import sys

    program = "import sys, penstock.catalogue.serving, penstock.catalogue.client; print('av' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=300, check=True)
    assert done.stdout == "False\n"


def waited(dataset, task):
    for _ in range(1200):
        status = dataset.re_encode_data_status(task)
        if status.status != "SUBMITTED":
            return status
        time.sleep(0.05)
    raise AssertionError("it is SUBMITTED for a minute")


def test_each_video_is_re_encoded_as_a_new_row_or_says_why_not(demo, tmp_path):
    with Catalogue.open(demo, state=str(tmp_path / "state")) as catalogue:
        dataset = catalogue.get_dataset(catalogue.create_dataset("Films")["dataset_hash"])
        good = dataset.upload_video(video(tmp_path / "a.mp4"), client_metadata={"site": "A"})
        still = dataset.upload_image(image(tmp_path / "b.png"))
        with pytest.warns(UserWarning, match="1 rows are not of films"):
            task = dataset.re_encode_data([good.uid, still.uid, "foreign"])
        assert isinstance(task, int)
        done = waited(dataset, task)
        (result,) = done.result
        assert (done.status, result.signed_url, result.bucket_path) == ("DONE", None, "demo/films/a.h264.mp4")
        assert done.errors.keys() == {still.uid}
        made = dataset.get_row(result.data_hash)
        assert (made.derived_from, made.codec, made.frames, made.frames_source) == (
            good.uid,
            "h264",
            25,
            FramesSource.DECODED,
        )
        assert made.client_metadata == {"site": "A"}
        before = penstock.Package("demo/films").top_hash
        # The job dies after its version is there and before that is noted: the next worker finds what was made.
        from penstock.catalogue.state.database import open_database

        database = open_database(str(tmp_path / "state"))
        with database.transaction() as connection:
            connection.execute("UPDATE job SET status = 'SUBMITTED', result = NULL, holder = 'dead', lease_until = 0")
        database.close()
        again = waited(dataset, task)
        assert again.result == done.result
        assert penstock.Package("demo/films").top_hash == before
        only = waited(dataset, dataset.re_encode_data([still.uid]))
        assert (only.status, only.result) == ("ERROR", None)


def test_a_server_re_encodes_and_its_addresses_are_for_that_file_and_that_time(demo, tmp_path):
    with running(tmp_path / "state", demo, is_trusting=False) as site:
        hash_ = site.context.buckets["demo"].create("Films")["dataset_hash"]
        keys = site.context.keys
        own = keys.create("own", list(DatasetScope), hash_).secret
        other = keys.create("other", list(DatasetScope), hash_).secret
        reader = keys.create("reader", [DatasetScope.READ], hash_).secret
        dataset = Dataset(f"{site.url}/demo/films", key=own)
        row = dataset.upload_video(video(tmp_path / "a.mp4"))
        task = dataset.re_encode_data([row.uid])
        (result,) = waited(dataset, task).result
        path = result.signed_url.removeprefix(site.url)
        whole = site.ask("GET", path)
        assert (whole.status, whole.headers["content-type"]) == (200, "video/mp4")
        (tmp_path / "got.mp4").write_bytes(whole.body)
        assert len(frames_of(tmp_path / "got.mp4")) == 25
        part = site.ask("GET", path, range="bytes=4-7")
        assert (part.status, part.body, part.headers["content-range"]) == (206, b"ftyp", f"bytes 4-7/{len(whole.body)}")
        assert site.ask("GET", path, range=f"bytes={1 << 40}-").status == 416
        assert site.ask("GET", path.replace("/signed/W", "/signed/X")).status == 403
        late = site.context.secret.sign("file", (hash_, "a.h264.mp4", ""), -1)
        assert site.ask("GET", f"/signed/{late}/a.mp4").status == 403
        other_bytes = site.context.secret.sign("file", (hash_, "a.h264.mp4", "00"), 60)
        assert site.ask("GET", f"/signed/{other_bytes}/a.mp4").status == 404
        # Somebody else's task is as good as none.
        for key in (other, reader):
            foreign = site.ask("GET", f"/api/tasks/{task}", key=key)
            missing = site.ask("GET", "/api/tasks/4711", key=key)
            assert (foreign.status, missing.status) == (404, 404)
            assert foreign.json()["error"]["what"].replace(str(task), "") == missing.json()["error"]["what"].replace(
                "4711", ""
            )
            assert site.ask("DELETE", f"/api/tasks/{task}", key=key).status == 404
        body = {"data_hashes": [row.uid]}
        assert site.ask("POST", f"/api/datasets/{hash_}/re-encode", key=reader, body=body).status == 403


def test_a_job_of_a_server_that_was_killed_goes_on_in_the_next(demo, tmp_path):
    """The server is a process, killed while its worker encodes."""
    import json
    import subprocess
    import sys

    from penstock.catalogue.state.database import open_database
    from penstock.catalogue.state.job_table import JobStatus, JobTable

    catalogue = Catalogue.open(demo)
    dataset = catalogue.get_dataset(catalogue.create_dataset("Films")["dataset_hash"])
    rows = [dataset.upload_video(video(tmp_path / f"{name}.mp4", 50)) for name in "ab"]
    catalogue.close()
    state = tmp_path / "state"
    command = [sys.executable, "-m", "penstock", "--json", "serve", demo, "--port", "0", "--state", str(state)]
    command.append("--trust-loopback")
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as server:
        url = json.loads(server.stdout.readline())["url"]
        client = Dataset(f"{url}/demo/films", key="none")
        client._driver._connection.key = None
        task = client.re_encode_data([row.uid for row in rows])
        database = open_database(str(state))
        for _ in range(1200):
            if database.read("SELECT 1 FROM job WHERE holder IS NOT NULL"):
                break
            time.sleep(0.05)
        server.send_signal(signal.SIGKILL)
    assert JobTable(database).find(task).status is not JobStatus.ERROR  # on a slow machine it may be done by now
    with database.transaction() as connection:
        connection.execute("UPDATE job SET lease_until = 0")  # half a minute later
    with running(state, demo) as site:
        for _ in range(1200):
            found = site.ask("GET", f"/api/tasks/{task}").json()
            if found["status"] != "SUBMITTED":
                break
            time.sleep(0.05)
    database.close()
    assert (found["status"], len(found["result"]["videos"])) == ("DONE", 2)
    derived = [each.derived_from for each in Catalogue.open(demo).get_dataset("films").data_rows if each.derived_from]
    assert sorted(derived) == sorted(row.uid for row in rows)
