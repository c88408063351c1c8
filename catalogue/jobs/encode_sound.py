"""The sound of a video that is re-encoded: copied where browsers play it in MP4 as it is, else as AAC.

It keeps its times, counted from the first frame that is shown: what comes before that is left out, and gaps stay gaps.
Sound that cannot be decoded is left out, for it is the frames that are asked for. In the process that encodes alone.
"""

from __future__ import annotations

from typing import Any

__all__ = ["Sound"]

_COPIED = frozenset({"aac", "mp3", "mp3float"})
_RATE = 48_000
_MOST_HELD = 64 << 20
"""Bytes of sound that may come before the first frame."""
_MOST_GAP = 3600.0
"""Seconds without sound, behind which no more is believed."""


class Sound:
    """The sound of `source`, a stream: packets are taken as they come, and written once `begin` was called."""

    def __init__(self, source: Any) -> None:
        self.source = source
        self._is_copied = source.codec_context.name in _COPIED
        self._held: list[Any] = []
        self._held_bytes = 0
        self._made: Any = None
        self._output: Any = None
        self._graph: Any = None
        self._start = 0.0
        self._at = 0.0
        self._last_dts: int | None = None
        self._is_lost = False

    def begin(self, made: Any, start: float) -> None:
        """Make the stream in the file; the first frame is shown at `start`, in seconds of the source."""
        from av.error import FFmpegError

        self._made, self._start = made, start
        try:
            if self._is_copied:
                self._output = made.add_stream_from_template(self.source)
            else:
                self._output = made.add_stream("aac", rate=_RATE)
                self._output.layout = "mono" if self.source.codec_context.channels == 1 else "stereo"
        except (FFmpegError, ValueError):  # it says something of itself that no file can hold
            self._is_lost = True
        held, self._held = self._held, []
        for packet in held:
            self.take(packet)

    def take(self, packet: Any) -> None:
        """Take a packet of the source."""
        if self._is_lost:
            return
        if self._made is None:
            self._held_bytes += packet.size
            if self._held_bytes > _MOST_HELD:
                self._is_lost = True
                self._held.clear()
            else:
                self._held.append(packet)
        elif self._is_copied:
            self._copy(packet)
        else:
            self._encode(packet)

    def _copy(self, packet: Any) -> None:
        if packet.pts is None or packet.dts is None:  # the last one, which is empty
            return
        back = round(self._start / packet.time_base)
        if packet.pts + (packet.duration or 0) <= back:
            return
        if self._last_dts is not None and packet.dts <= self._last_dts:  # no file can hold it
            return
        self._last_dts = packet.dts
        packet.pts -= back
        packet.dts -= back
        packet.stream = self._output
        self._made.mux(packet)

    def _encode(self, packet: Any) -> None:
        from av.error import FFmpegError

        try:
            frames = packet.decode()
        except FFmpegError:
            return
        for frame in frames:
            if frame.pts is None:
                continue
            if frame.time - self._at > self._start + _MOST_GAP:
                self._is_lost = True
                return
            self._at = max(self._at, frame.time - self._start)
            if self._graph is None:
                self._graph = self._filters(frame)
            frame.pts -= round(self._start / frame.time_base)
            self._graph.push(frame)
            self._drain()

    def _filters(self, frame: Any) -> Any:
        """Return what makes of any sound what the encoder takes, from time 0 on, with silence where there is none."""
        from av.filter import Graph

        graph = Graph()
        source = graph.add_abuffer(
            sample_rate=frame.sample_rate,
            format=frame.format.name,
            layout=frame.layout.name,
            time_base=frame.time_base,
        )
        layout = self._output.layout.name
        steps = (
            ("aresample", "async=1:first_pts=0"),
            ("aformat", f"sample_fmts=fltp:sample_rates={_RATE}:channel_layouts={layout}"),
            ("asetnsamples", "n=1024:p=0"),
        )
        graph.link_nodes(source, *(graph.add(*step) for step in steps), graph.add("abuffersink")).configure()
        return graph

    def _drain(self) -> None:
        from av.error import BlockingIOError as NothingYet
        from av.error import EOFError as Ended

        while True:
            try:
                frame = self._graph.pull()
            except (NothingYet, Ended):
                return
            for packet in self._output.encode(frame):
                self._made.mux(packet)

    def end(self) -> None:
        """Write what is left."""
        if self._is_lost or self._is_copied or self._graph is None:
            return
        self._graph.push(None)
        self._drain()
        for packet in self._output.encode(None):
            self._made.mux(packet)
