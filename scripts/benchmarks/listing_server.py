"""A server that replays the listing of a bucket nobody has filled: so many keys, answered as S3 answers LIST.

    python listing_server.py COUNT

prints its port. Keys are ``in/`` and those of `quilt_peer.key`, each of one byte. It answers ListObjectsV2 with and
without a delimiter, a thousand names a page; that is all there is.
"""

from __future__ import annotations

import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

from quilt_peer import FOLDERS

__all__ = ["MODIFIED"]

MODIFIED = "2026-01-01T00:00:00.000Z"
_PAGE = 1000
_XML = '<?xml version="1.0" encoding="UTF-8"?><ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
_ITEM = (
    f"<Contents><Key>in/part-%04d/image-%08d.jpg</Key><LastModified>{MODIFIED}</LastModified>"
    "<ETag>&quot;%032x&quot;</ETag><Size>1</Size><StorageClass>STANDARD</StorageClass></Contents>"
)


class _Listing(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    count = 0

    def do_GET(self) -> None:
        query = {name: values[0] for name, values in parse_qs(urlsplit(self.path).query).items()}
        prefix, at = query.get("prefix", ""), int(query.get("continuation-token", 0))
        per_folder = self.count // FOLDERS
        if prefix.startswith("in/part-"):
            first, last = int(prefix[8:12]) * per_folder, (int(prefix[8:12]) + 1) * per_folder
        elif "delimiter" in query:
            folders = "".join(
                f"<CommonPrefixes><Prefix>in/part-{at:04}/</Prefix></CommonPrefixes>" for at in range(FOLDERS)
            )
            return self._answer(f"<KeyCount>{FOLDERS}</KeyCount><IsTruncated>false</IsTruncated>{folders}")
        else:
            first, last = 0, per_folder * FOLDERS
        numbers = range(first + at, min(first + at + _PAGE, last))
        items = "".join(_ITEM % (*divmod(number, per_folder), number) for number in numbers)
        more = at + _PAGE if first + at + _PAGE < last else None
        token = f"<NextContinuationToken>{more}</NextContinuationToken>" if more else ""
        truncated = "true" if more else "false"
        return self._answer(f"<KeyCount>{len(numbers)}</KeyCount><IsTruncated>{truncated}</IsTruncated>{token}{items}")

    def _answer(self, text: str) -> None:
        body = f"{_XML}<Name>listing</Name><MaxKeys>{_PAGE}</MaxKeys>{text}</ListBucketResult>".encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/xml")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002  # the parent's name
        pass


def _main() -> None:
    _Listing.count = int(sys.argv[1])
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Listing)
    print(server.server_address[1], flush=True)
    server.serve_forever()


if __name__ == "__main__":
    _main()
