"""The process that decodes pictures: ``python -m penstock.repo.similarity.picture_process``.

Decoders are large programs in C, and pictures come from anybody. So this process has bounds on memory, time and files,
and nothing but the bytes that it is sent. What kills it kills nothing else. It ends with standard input.
"""

from __future__ import annotations

import resource
import sys

from penstock.repo.similarity.picture_messages import (
    CompareTask,
    DecodedPicture,
    HashTask,
    NotMade,
    Task,
    receive,
    send,
)

__all__ = ["main"]

_MEMORY = 2 << 30
_CPU_SECONDS = 3600


def main() -> None:
    """Answer until there are no more questions."""
    for kind, most in (
        (resource.RLIMIT_AS, _MEMORY),
        (resource.RLIMIT_CPU, _CPU_SECONDS),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),
    ):
        resource.setrlimit(kind, (most, most))
    questions, answers = sys.stdin.buffer, sys.stdout.buffer
    sys.stdout = sys.stderr  # what a library prints is no answer
    while (task := receive(questions, Task)) is not None:
        send(answers, _answer(task))


def _answer(task: Task) -> DecodedPicture | NotMade:
    from penstock.repo.similarity import picture_hash

    try:
        match task:
            case HashTask(body):
                return DecodedPicture(hash=picture_hash.hash_of(body))
            case CompareTask(before, after):
                picture, share = picture_hash.difference(before, after)
                return DecodedPicture(picture=picture, share=share)
            case _:
                picture, facts = picture_hash.small_picture(task.body)
                return DecodedPicture(picture=picture, **facts)
    except picture_hash.TooLargeError as error:
        return NotMade(str(error))
    except MemoryError:
        return NotMade("it takes more memory to decode than is allowed")
    except Exception as error:  # noqa: BLE001  # a decoder raises anything over what is hostile
        return NotMade(f"it cannot be decoded: {type(error).__name__}: {str(error)[:200]}")


if __name__ == "__main__":
    main()
