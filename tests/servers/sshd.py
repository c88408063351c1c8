"""OpenSSH's server on loopback, for the user who runs the tests: a host key, one key that may log in, and one service.

That is SFTP, or what `service` says; as most servers do, it takes no variables from who logs in.
"""

from __future__ import annotations

import getpass
import os
import shutil
import subprocess
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from .ports import LOOPBACK, reserve_port

__all__ = ["GIT", "SshServer"]

_CONFIG = """
ListenAddress {host}
Port {port}
HostKey {folder}/host
PidFile none
AuthorizedKeysFile {folder}/user.pub
PasswordAuthentication no
KbdInteractiveAuthentication no
UsePAM no
StrictModes no
PermitRootLogin prohibit-password
Subsystem sftp internal-sftp
ForceCommand {service}
MaxStartups 100
"""


GIT = """git-shell -c "$SSH_ORIGINAL_COMMAND\""""
"""The service of repositories: what `git fetch` asks for, and nothing else."""


class SshServer:
    """A server that runs until its block ends; `home` is given what a client needs below ``.ssh``."""

    def __init__(self, folder: Path, service: str = "internal-sftp") -> None:
        self._folder = folder
        self._service = service
        self._reserved = reserve_port()
        self.port: int = self._reserved.getsockname()[1]
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        for name in ("host", "user"):
            command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(self._folder / name)]
            subprocess.run(command, check=True)
        config = self._folder / "config"
        config.write_text(_CONFIG.format(host=LOOPBACK, port=self.port, folder=self._folder, service=self._service))
        if os.geteuid() == 0:
            Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)  # where it parts privileges; it wants it there
        program = shutil.which("sshd", path=f"{os.environ['PATH']}:/usr/sbin")
        assert program is not None, "sshd is not installed: scripts/install --test"
        self.log = self._folder / "log"
        with self.log.open("wb") as log:
            self._process = subprocess.Popen([program, "-D", "-e", "-f", str(config)], stderr=log)
        deadline = time.monotonic() + 60
        while b"Server listening" not in self.log.read_bytes():
            assert self._process.poll() is None, self.log.read_text()
            assert time.monotonic() < deadline, self.log.read_text()
            time.sleep(0.02)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
        self._reserved.close()

    def stop(self) -> None:
        """End it, connections as well."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait(30)
            self._process = None

    def break_connections(self) -> None:
        """End the processes that serve connections; the server goes on."""
        assert self._process is not None
        subprocess.run(["pkill", "-KILL", "-P", str(self._process.pid)], check=True)

    def let_in(self, home: Path) -> None:
        """Have programs whose home it is know the host, and log in."""
        folder = home / ".ssh"
        folder.mkdir(mode=0o700)
        host = (self._folder / "host.pub").read_text().split()
        (folder / "known_hosts").write_text(f"[{LOOPBACK}]:{self.port} {host[0]} {host[1]}\n")
        shutil.copy(self._folder / "user", folder / "id_ed25519")

    def client(self, home: Path) -> str:
        """Return the command that logs in with what `let_in` gave a home; by itself ssh(1) looks into the user's."""
        own = f"-o UserKnownHostsFile={home}/.ssh/known_hosts -o IdentitiesOnly=yes -i {home}/.ssh/id_ed25519"
        return f"ssh -F /dev/null -o BatchMode=yes {own}"

    def address(self, directory: Path) -> str:
        """Return the address of a directory as a store, or of a repository."""
        return f"ssh://{getpass.getuser()}@{LOOPBACK}:{self.port}{directory}"
