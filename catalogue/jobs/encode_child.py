"""The process that re-encodes one video: ``python -m penstock.catalogue.jobs.encode_child BYTES``.

What comes out has H.264, yuv420p, one rate, and no frame that is shown at another place than it is decoded at: frame n
is the n-th that a decoder gives of the source, whatever times the source gives its frames. It is shown upright, and of
even width and height: the last column or row is doubled where need be. Its sound keeps its own times (`encode_sound`).

It has bounds on memory, time and what it may write, and reads the source by asking for it (`asked_file`).
"""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator
from fractions import Fraction
from typing import Any, BinaryIO

from penstock.catalogue.jobs.encode_messages import Encode, Encoded, Frames
from penstock.catalogue.jobs.encode_sound import Sound
from penstock.catalogue.rows.asked_file import AskedFile, asker, bound_process, demuxing_options
from penstock.catalogue.rows.probe_messages import Unknown, read_message, write_message

__all__ = ["main"]

_MEMORY = 4 << 30
_CPU_SECONDS = 12 * 3600
_MOST_PIXELS = 64_000_000
_ENCODERS = ("libx264", "libopenh264")
"""Whichever the FFmpeg has that PyAV was built with; see docs/CATALOGUE.md for their licences."""
_SAID_EACH = 10
_SOUND_RATES = (Fraction(1, 100), Fraction(1000))
_USUAL = Fraction(25)


def main() -> None:
    """Do what is asked on standard input, and end."""
    bound_process(_MEMORY, _CPU_SECONDS, int(sys.argv[1]))
    source, target = sys.stdin.buffer, sys.stdout.buffer
    sys.stdout = sys.stderr  # what a library prints is no answer
    question: Encode | None = read_message(source, Encode)
    if question is None:
        return
    stream = io.BufferedReader(AskedFile(question.size, asker(source, target)), 1 << 18)
    try:
        said: Encoded | Unknown = _encode(stream, f"/proc/self/fd/{question.target}", target)
    except MemoryError:
        said = Unknown("it needs more memory than is allowed")
    except Exception as error:  # noqa: BLE001  # decoders raise what they like
        said = Unknown(f"{type(error).__name__}: {error}"[:300])
    write_message(target, said)


class _Decoder:
    """Gives the frames of a video in the order in which they are shown; `lost` counts what could not be decoded.

    Packets of its sound, which come between them, go to `sound`.
    """

    def __init__(self, container: Any, video: Any, sound: Sound | None) -> None:
        self._container = container
        self._video = video
        self._sound = sound
        self.lost = 0

    def __iter__(self) -> Iterator[Any]:
        from av.error import InvalidDataError

        streams = [self._video] if self._sound is None else [self._video, self._sound.source]
        for packet in self._container.demux(*streams):
            if self._sound is not None and packet.stream.type == "audio":
                self._sound.take(packet)
                continue
            try:
                frames = packet.decode()
            except InvalidDataError:
                self.lost += 1
                continue
            yield from frames


def _encode(stream: BinaryIO, path: str, answers: BinaryIO) -> Encoded | Unknown:
    import av

    encoder = next((name for name in _ENCODERS if name in av.codecs_available), None)
    if encoder is None:
        return Unknown(f"the FFmpeg that PyAV was built with has no encoder for H.264: {' or '.join(_ENCODERS)}")
    with av.open(stream, "r", options=demuxing_options()) as container:
        if not container.streams.video:
            return Unknown("it has no video")
        video = container.streams.video[0]
        if not 0 < video.width * video.height <= _MOST_PIXELS:
            return Unknown(f"frames of {video.width} x {video.height} are not encoded")
        video.thread_count = 2
        rate = _rate(video)
        sound = Sound(container.streams.audio[0]) if container.streams.audio else None
        decoder, count = _Decoder(container, video, sound), 0
        with av.open(path, "w", format="mp4", options={"movflags": "faststart"}) as made:
            output: Any = None
            upright: Any = None
            for frame in decoder:
                if upright is None:
                    upright = _Upright(frame)
                picture = upright(frame)
                if output is None:
                    output = _stream(made, encoder, rate, picture, video)
                    if sound is not None:  # both are there before anything is written
                        sound.begin(made, float(frame.time or 0.0))
                picture.pts, picture.time_base, picture.pict_type = count, 1 / rate, 0
                for packet in output.encode(picture):
                    made.mux(packet)
                count += 1
                if count % _SAID_EACH == 0:
                    write_message(answers, Frames(count))
            if output is None:
                return Unknown("no frame of it can be decoded")
            for packet in output.encode(None):
                made.mux(packet)
            if sound is not None:
                sound.end()
            return Encoded(count, output.width, output.height, float(rate), decoder.lost)


def _rate(video: Any) -> Fraction:
    """Return the rate of the result: what the source has on average, where that makes sense."""
    low, high = _SOUND_RATES
    for rate in (video.average_rate, video.base_rate):
        if rate is not None and low <= Fraction(rate) <= high:
            return Fraction(rate).limit_denominator(1001)
    return _USUAL


def _stream(made: Any, encoder: str, rate: Fraction, picture: Any, video: Any) -> Any:
    # A key frame a second makes seeking quick; without frames that refer to later ones, none is shown late.
    second = str(max(1, min(300, round(rate))))
    options = {"g": second, "bf": "0"}
    if encoder == "libx264":
        options |= {"preset": "fast", "crf": "18", "threads": "2"}
    output = made.add_stream(encoder, rate=rate, options=options)
    output.width, output.height, output.pix_fmt = picture.width, picture.height, "yuv420p"
    output.codec_context.time_base = 1 / rate
    output.codec_context.max_b_frames = 0
    if encoder == "libopenh264":
        output.bit_rate = picture.width * picture.height * max(1, round(rate)) // 4
    if video.sample_aspect_ratio:
        output.codec_context.sample_aspect_ratio = video.sample_aspect_ratio
    return output


class _Upright:
    """Turns frames as the first one is to be turned, to its size, with even sides and as yuv420p."""

    def __init__(self, first: Any) -> None:
        from av.filter import Graph

        self._shape = (first.width, first.height, first.format.name)
        self._graph: Any = None
        turn = {90: ["transpose=cclock"], 180: ["hflip", "vflip"], 270: ["transpose=clock"]}.get(
            first.rotation % 360, []
        )
        if not turn and first.width % 2 == 0 and first.height % 2 == 0:
            return
        sides = (first.height, first.width) if first.rotation % 180 else (first.width, first.height)
        odd = [side % 2 for side in sides]
        graph = Graph()
        nodes = [
            graph.add_buffer(width=first.width, height=first.height, format=first.format, time_base=Fraction(1, 25))
        ]
        # As yuv444p first: a side of yuv420p cannot be odd, so that it would be cut.
        steps = [*turn, "format=yuv444p", "pad=ceil(iw/2)*2:ceil(ih/2)*2"]
        steps += [f"fillborders=right={odd[0]}:bottom={odd[1]}:mode=smear"] if any(odd) else []
        steps.append("format=yuv420p")
        for step in steps:
            name, _, arguments = step.partition("=")
            nodes.append(graph.add(name, arguments) if arguments else graph.add(name))
        nodes.append(graph.add("buffersink"))
        graph.link_nodes(*nodes).configure()
        self._graph = graph

    def __call__(self, frame: Any) -> Any:
        width, height, kind = self._shape
        if self._graph is None:
            return frame.reformat(width, height, "yuv420p")
        if (frame.width, frame.height, frame.format.name) != self._shape:
            frame = frame.reformat(width, height, kind)
        frame.pts, frame.time_base = 0, Fraction(1, 25)
        self._graph.vpush(frame)
        return self._graph.vpull()


if __name__ == "__main__":
    main()
