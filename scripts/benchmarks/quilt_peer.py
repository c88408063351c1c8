"""What quilt3 does with as many entries, for comparison: run by a Python that has quilt3, never by Penstock's own.

    quilt_peer.py COUNT FOLDER
    quilt_peer.py push DIRECTORY FOLDER

The first prints seconds to build a package of COUNT entries that are not hashed and write its manifest, then, each in
a process of its own that opens the manifest, to list one directory and to read one entry's metadata, and the most
memory in MB. The second hashes a directory's files and writes the manifest to a local registry, and prints seconds and
seconds of processor time, without the imports.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import time

FOLDERS = 100


def key(number: int) -> str:
    """Name an entry as the benchmark of Penstock does."""
    return f"part-{number % FOLDERS:04}/image-{number // FOLDERS:08}.jpg"


def _build(count: int, path: str) -> None:
    import quilt3
    from quilt3.packages import PackageEntry
    from quilt3.util import PhysicalKey

    package = quilt3.Package()
    for number in range(count):
        name = key(number)
        package.set(
            name, PackageEntry(PhysicalKey("bench", name, None), 4096, None, {"user_meta": {"label": number % 10}})
        )
    with open(path, "w") as file:
        package.dump(file)


def _open(path: str, question: str) -> None:
    import quilt3

    with open(path) as file:
        package = quilt3.Package.load(file)
    if question == "list":
        assert len(list(package["part-0042"].keys())) > 1
    else:
        assert "label" in package[key(4242)].meta


def _push(directory: str, registry: str) -> tuple[float, float]:
    import quilt3

    quilt3.config(telemetry_disabled=True)
    begin, worked = time.perf_counter(), time.process_time()
    quilt3.Package().set_dir("/", directory).build("bench/clipart", registry=registry)
    return time.perf_counter() - begin, time.process_time() - worked


def main() -> None:
    """Do one of them in this process, or all in processes of their own."""
    if sys.argv[1] == "push":
        print(json.dumps(_push(sys.argv[2], sys.argv[3])))
        return
    if len(sys.argv) > 3:
        count, path, question = int(sys.argv[1]), sys.argv[2], sys.argv[3]
        import quilt3  # noqa: F401  # its own time is not counted, as Penstock's is not

        begin = time.perf_counter()
        _build(count, path) if question == "build" else _open(path, question)
        took = time.perf_counter() - begin
        print(json.dumps([took, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024]))
        return
    count, folder = sys.argv[1], sys.argv[2]
    told = {}
    for question in ("build", "list", "metadata"):
        command = [sys.executable, __file__, count, os.path.join(folder, "quilt.jsonl"), question]
        told[question] = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    print(json.dumps(told))


if __name__ == "__main__":
    main()
