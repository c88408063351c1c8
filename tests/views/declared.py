"""Datasets as code in tests: pictures that differ, and versions built without git's part in it."""

from __future__ import annotations

import io
from contextlib import ExitStack
from pathlib import Path

from PIL import Image

from penstock.api.settings import Settings
from penstock.project.commits.workshop import open_bucket, open_kept_work
from penstock.project.declared.declared_source import read_source
from penstock.project.project import Project, work_tree_of
from penstock.project.records.building import BuiltVersion, build
from penstock.project.records.data_record import DataRecord
from penstock.project.records.version_draft import Merging, Workshop
from penstock.project.records.versions import Version
from penstock.repo.write.publish import Authorship


def picture(number: int, kind: str = "PNG") -> bytes:
    """Return a picture that is another one for each number."""
    stream = io.BytesIO()
    Image.new("RGB", (4, 4), (number % 256, number // 256 % 256, 7)).save(stream, kind)
    return stream.getvalue()


class Bench:
    """Builds versions in a repository, each of the one before."""

    def __init__(self, root: Path, stack: ExitStack) -> None:
        self.root = root
        found = work_tree_of(str(root))
        assert found is not None
        project = Project(*found)
        session = stack.enter_context(open_bucket(project, Settings.load(), []))
        files, kept = stack.enter_context(open_kept_work(project))
        self.asked: list[str] = []
        who = Authorship("Ada", "", "commit")
        self.shop = Workshop(session, files, kept, str(root), who, "main", self.asked.append)
        self.version: Version | None = None

    def build(
        self,
        text: str,
        base: Version | None = None,
        merging: Merging | None = None,
        shop: Workshop | None = None,
        **options: bool,
    ) -> BuiltVersion:
        """Build what a text declares, of the last version or of `base`."""
        source = read_source("index.py", text.encode(), self._read)
        shop = shop or self.shop
        built = build(shop, source, source.declarations[0], base or self.version, merging, **options)
        self.version = built.version
        return built

    def _read(self, path: str) -> bytes | None:
        place = self.root / path
        return place.read_bytes() if place.is_file() else None

    def newest(self, version: Version | None = None) -> Version:
        """Return a version, or the last one."""
        found = version or self.version
        assert found is not None
        return found

    def names(self, folder: str, version: Version | None = None) -> list[str]:
        """Return the names in a folder."""
        return [entry.name.decode() for entry in self.newest(version).files(folder)]

    def rows(self, version: Version | None = None) -> dict[str, DataRecord]:
        """Return all records."""
        return dict(self.newest(version).records())

    def folders(self) -> list[str]:
        """Return the names of the folders of the last version."""
        return sorted(self.newest().folders)
