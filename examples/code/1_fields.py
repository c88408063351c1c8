"""Shapes: a dataset as code, its fields alone."""

from penstock import File, dataset, png


@dataset(remote="shapes")
class Shapes:
    """Shapes.

    Circles and squares, drawn.
    """

    image: File[png]
    kind: str
