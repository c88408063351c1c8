"""Shapes: a dataset as code, with an ingest that draws them."""

from PIL import Image, ImageDraw

from penstock import File, dataset, ingest, png


@dataset(remote="shapes")
class Shapes:
    """Shapes.

    Circles and squares, drawn.
    """

    image: File[png]
    kind: str

    @ingest
    def draw():
        for size in range(8, 32, 2):
            for kind in ("circle", "square"):
                picture = Image.new("L", (64, 64))
                pen = ImageDraw.Draw(picture)
                box = (32 - size, 32 - size, 32 + size, 32 + size)
                pen.ellipse(box, fill=255) if kind == "circle" else pen.rectangle(box, fill=255)
                yield {"image": picture, "kind": kind}
