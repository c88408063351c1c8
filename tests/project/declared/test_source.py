"""What a file declares is read from its text; what is wrong with it is said with its line, and nothing is run."""

from __future__ import annotations

import pytest

from penstock.project.declared.complaint import DeclarationError
from penstock.project.declared.declaration import FieldKind, Role
from penstock.project.declared.declared_source import read_source

HEAD = "from penstock import dataset, File, ingest, derived, was, png, jpg\n"


def read(text, **others):
    files = {f"{name}.py": body.encode() for name, body in others.items()}
    return read_source("index.py", text.encode(), files.get)


def one(body, **others):
    return read(f"{HEAD}@dataset()\nclass Photos:\n    image: File[png]\n{body}", **others).declarations[0]


def digest(body, name="small", **others):
    return next(each.digest for each in one(body, **others).methods if each.name == name)


DOCUMENT = '''
from penstock import dataset, File, ingest, png, jpg

@dataset(remote="awsbucket")
class SegmentationDataset:
    """Segmentations of pictures

    From the web.
    """
    image: File[png | jpg]
    segmentation: File[png]

    @ingest
    def get_dataset_from_web():
        ... # perform some web requests, save the files
        return list_of_image, list_of_segmentation

    def segmentation_resized(segmentation: File[png]) -> File[png]:
        ...
        return file
'''


def test_the_class_of_the_document_is_read_as_it_stands_there():
    found = read(DOCUMENT).declarations[0]
    assert (found.name, found.table, found.remote) == ("SegmentationDataset", "SegmentationDataset", "awsbucket")
    assert (found.title, found.description) == ("Segmentations of pictures", "From the web.")
    assert [(each.name, each.type.formats) for each in found.columns] == [
        ("image", ("png", "jpg")),
        ("segmentation", ("png",)),
        ("segmentation_resized", ("png",)),
    ]
    assert [(each.name, each.role, each.inputs) for each in found.methods] == [
        ("get_dataset_from_web", Role.INGEST, ()),
        ("segmentation_resized", Role.DERIVED, ("segmentation",)),
    ]


def test_the_same_file_can_be_imported_as_a_plain_module():
    space = {"__name__": "index"}
    exec(compile(DOCUMENT, "index.py", "exec"), space)
    assert callable(space["SegmentationDataset"].get_dataset_from_web)


def test_scalars_have_the_types_of_columns():
    found = read(
        "import datetime, enum, typing\nimport penstock as p\nfrom typing import Literal, Optional\n"
        "class Kind(enum.Enum):\n    CAT = 'cat'\n    DOG = 'dog'\n"
        "@p.dataset(name='all', remote='demo')\nclass All:\n"
        "    a: str\n    b: float | None\n    c: int\n    d: bool\n    e: datetime.datetime\n    f: Kind\n"
        "    g: p.JSON\n    h: Literal['x', 'y']\n    i: Optional[int]\n"
        "    j: 'p.File[p.png] | None'\n    k: p.File['tar.gz', p.csv]\n"
    ).declarations[0]
    assert found.name == "all"
    kinds = [(each.type.kind, each.type.optional) for each in found.fields]
    assert kinds == [
        (FieldKind.STR, False),
        (FieldKind.FLOAT, True),
        (FieldKind.INT, False),
        (FieldKind.BOOL, False),
        (FieldKind.DATETIME, False),
        (FieldKind.ENUM, False),
        (FieldKind.JSON, False),
        (FieldKind.ENUM, False),
        (FieldKind.INT, True),
        (FieldKind.FILE, True),
        (FieldKind.FILE, False),
    ]
    assert found.column("f").type.choices == ("cat", "dog")
    assert found.column("k").type.formats == ("tar.gz", "csv")


def test_an_enumeration_may_be_in_another_module_of_the_repository():
    kinds = "import enum\nclass Kind(enum.StrEnum):\n    CAT = enum.auto()\n    DOG = 'hound'\n"
    for heading, name in (
        ("from kinds import Kind\n", "Kind"),
        ("from more import Kind as K\n", "K | None"),
        ("import kinds\n", "kinds.Kind"),
    ):
        found = read(
            f"{HEAD}{heading}@dataset()\nclass Pets:\n    kind: {name}\n", kinds=kinds, more="from kinds import Kind"
        )
        assert found.declarations[0].fields[0].type.choices == ("cat", "hound")
    with pytest.raises(DeclarationError, match="no field can be Kind"):
        read(f"{HEAD}from kinds import Kind\n@dataset()\nclass Pets:\n    kind: Kind\n", kinds="class Kind: pass")


def test_derived_fields_come_after_what_they_are_made_of():
    found = one(
        "    def b(a: File[png]) -> int:\n        return 1\n"
        "    def a(image: File[png]) -> File[png]:\n        return image\n"
        "    def check(b: int) -> None:\n        assert b\n"
    )
    assert [each.name for each in found.of_role(Role.DERIVED)] == ["a", "b"]
    assert [each.name for each in found.of_role(Role.CHECK)] == ["check"]


def test_fields_are_renamed_by_was():
    found = one(
        "    label: str = was('name')\n    @was('little')\n    def small(image) -> File[png]:\n        return image\n"
    )
    assert [(each.name, each.was) for each in found.columns] == [("image", ""), ("label", "name"), ("small", "little")]


SMALL = "    def small(image) -> File[png]:\n        return shrink(image, 2)\n"


@pytest.mark.parametrize(
    "other",
    [
        "    def small(image) -> File[png]:\n        'It is small.'\n        return shrink(image, 2)  # half\n",
        "    def small(image: File[png]) -> File[png]:\n        return shrink(\n            image,\n            2)\n",
        "    @derived\n    def small(image) -> File[png | jpg]:\n        return (shrink(image, 2))\n",
    ],
)
def test_comments_docstrings_and_layout_make_no_other_code(other):
    assert digest(other) == digest(SMALL)


@pytest.mark.parametrize(
    "other",
    [
        SMALL.replace("2", "3"),
        SMALL.replace("(image)", "(image, by=2)"),
        SMALL.replace("shrink(image, 2)", "image"),
    ],
)
def test_another_body_or_parameter_is_other_code(other):
    assert digest(other) != digest(SMALL)


def test_what_a_method_names_of_the_repository_is_part_of_its_code():
    def of(helper):
        return read(
            f"{HEAD}from sizes import shrink\n@dataset()\nclass Photos:\n    image: File[png]\n{SMALL}", sizes=helper
        ).declarations[0]

    one_way = of("def shrink(image, by):\n    return inner(image)\ndef inner(x):\n    return x\n")
    commented = of(
        "def shrink(image, by):\n    'Shrink it.'\n    return inner(image)\ndef inner(x):\n    return x  # as it is\n"
    )
    unrelated = of("K = 1\ndef shrink(image, by):\n    return inner(image)\ndef inner(x):\n    return x\n")
    deeper = of("def shrink(image, by):\n    return inner(image)\ndef inner(x):\n    return x[1:]\n")
    assert one_way.methods == commented.methods == unrelated.methods
    assert one_way.methods[0].digest != deeper.methods[0].digest


def test_a_version_stands_for_the_code():
    pinned = "    @derived(version=2)\n    def small(image) -> File[png]:\n        return image\n"
    assert digest(pinned) == digest(pinned.replace("return image", "return None"))
    assert digest(pinned) != digest(pinned.replace("2", "3"))


def test_modules_of_the_repository_that_a_file_imports_are_found_without_importing_them():
    found = read(
        f"{HEAD}import numpy\nimport sizes\n@dataset()\nclass Photos:\n    image: File[png]\n",
        sizes="from deep import x\nraise SystemExit",
        deep="x = 1",
        other="",
    )
    assert sorted(found.texts) == ["deep.py", "index.py", "sizes.py"]


def test_a_hostile_file_is_only_read(tmp_path):
    trap = tmp_path / "ran"
    text = (
        f"open({str(trap)!r}, 'w')\n{HEAD}@dataset()\nclass Photos:\n    image: File[png]\n    def a(image) -> int:\n"
    )
    read(text + f"        return open({str(trap)!r}, 'w')\n")
    assert not trap.exists()


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        ("x = 1\n", 1, "there is no dataset in it"),
        ("class A:\n    x: (\n", 2, "syntax error"),
        (f"{HEAD}@dataset()\nclass A:\n    pass\n", 3, "A has no fields"),
        (f"{HEAD}@dataset()\nclass A:\n    a: int\n@dataset()\nclass A:\n    a: int\n", 6, "two datasets are called A"),
        (
            f"{HEAD}@dataset()\nclass A:\n    a: File[png]\n@dataset()\nclass B:\n    a: File[png]\n",
            7,
            "both have the files a",
        ),
        (f"{HEAD}@dataset()\nclass A:\n    a: int\n    A: int\n", 5, "A is there twice"),
        (f"{HEAD}@dataset()\nclass A:\n    a: complex\n", 4, "no field can be complex"),
        (f"{HEAD}@dataset()\nclass A:\n    a: File[bmp]\n", 4, "bmp is no file type"),
        (f"{HEAD}@dataset()\nclass A:\n    a: File\n", 4, "File without a type"),
        (f"{HEAD}@dataset()\nclass A:\n    a: File['../x']\n", 4, "is no file type"),
        (f"{HEAD}@dataset()\nclass A:\n    id: int\n", 4, "no field can be called id"),
        (f"{HEAD}@dataset()\nclass A:\n    a: int = 3\n", 4, "a has a value"),
        (f"{HEAD}@dataset(remote=x)\nclass A:\n    a: int\n", 2, "remote is x"),
        (f"{HEAD}@dataset(name='../x')\nclass A:\n    a: int\n", 3, "no dataset can be called"),
        (
            f"{HEAD}@dataset()\nclass A:\n    a: int\n    def b(a):\n        return 1\n",
            5,
            "it is not said what b returns",
        ),
        (f"{HEAD}@dataset()\nclass A:\n    a: int\n    def b(self, a) -> int:\n        return 1\n", 5, "b takes self"),
        (f"{HEAD}@dataset()\nclass A:\n    a: int\n    def b(*a) -> int:\n        return 1\n", 5, "takes * or **"),
        (f"{HEAD}@dataset()\nclass A:\n    a: int\n    @ingest\n    def b(a):\n        return 1\n", 6, "b asks for a"),
        (
            HEAD + "@dataset()\nclass A:\n    def b(c) -> int: ...\n    def c(b) -> int: ...\n    a: int\n",
            4,
            "b -> c -> b",
        ),
    ],
)
def test_what_is_wrong_is_said_with_its_line(text, line, said):
    with pytest.raises(DeclarationError) as caught:
        read(text)
    assert said in str(caught.value)
    assert str(caught.value).startswith(f"index.py:{line}: ")
