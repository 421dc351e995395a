"""A SLURM of one node on this machine, for tests: Debian's packages, started without systemd, stopped again.

All that it writes lies in one folder, its ports are free ones on loopback, and its authentication has a
key and a socket of its own; so it gets in the way of no other SLURM, and stopping it leaves nothing running.

    python tests/slurm_node.py install [--accounts]
    python tests/slurm_node.py start FOLDER [--accounts]    (then: export SLURM_CONF=FOLDER/slurm.conf)
    python tests/slurm_node.py stop FOLDER
"""

from __future__ import annotations

import argparse
import contextlib
import os
import secrets
import shlex
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import psutil
from slurm_conf import GRES_CONF, slurm_conf

PACKAGES = ("munge", "slurmctld", "slurmd", "slurm-client")
ACCOUNT_PACKAGES = ("slurmdbd", "mariadb-server")
SYSTEM = "/usr/sbin:/usr/bin:/sbin:/bin"
# In the order in which they stop: what the others need goes last.
DAEMONS = ("slurmd", "slurmctld", "slurmdbd", "mariadbd", "munged")
COMMANDS = ("sbatch", "srun", "squeue", "scancel", "scontrol", "sinfo", "sacct", "sacctmgr")
WAIT_SECONDS = 120


class NoSlurm(RuntimeError):
    """SLURM cannot be had on this machine; the reason in one sentence."""


def missing_programs(accounts: bool = False) -> list[str]:
    """Which programs are not there."""
    wanted = ["munged", "slurmctld", "slurmd", "sbatch", *(["slurmdbd"] if accounts else [])]
    return [name for name in wanted if shutil.which(name, path=SYSTEM) is None]


def install(accounts: bool = False) -> None:
    """Install Debian's packages where programs are missing; raises NoSlurm with the reason."""
    if not missing_programs(accounts):
        return
    if os.getuid() != 0 or shutil.which("apt-get") is None:
        raise NoSlurm("SLURM is not installed, and installing it needs root and apt-get.")
    wanted = [*PACKAGES, *(ACCOUNT_PACKAGES if accounts else ())]
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for command in (
        ["apt-get", "update", "-qq"],
        ["apt-get", "install", "-y", "-qq", "--no-install-recommends", *wanted],
    ):
        said = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        if said.returncode:
            last = (said.stderr or said.stdout).strip().splitlines()[-1:]
            raise NoSlurm(f"SLURM could not be installed: {' '.join(command[:2])}: {''.join(last)}")
    if missing := missing_programs(accounts):
        raise NoSlurm(f"SLURM lacks {', '.join(missing)} after its installation.")


@dataclass(frozen=True)
class SlurmNode:
    """A running node; ``accounts``: with an accounting database (slurmdbd). ``gpus``: see ``start``."""

    folder: Path
    accounts: bool
    gpus: bool = False

    def environment(self) -> dict[str, str]:
        """Of commands that talk to this node."""
        path = f"{self.folder / 'bin'}:{os.environ.get('PATH', '')}:{SYSTEM}"
        return {**os.environ, "SLURM_CONF": str(self.folder / "slurm.conf"), "PATH": path}

    def command(self, *words: str) -> str:
        """What a SLURM command prints; raises CalledProcessError where it fails."""
        said = subprocess.run(
            words, env=self.environment(), capture_output=True, text=True, check=True, timeout=120
        )
        return said.stdout

    def completed(self) -> list[dict[str, str]]:
        """SLURM's own records of the jobs that ended: ``id``, ``name``, ``state``, ``comment``.

        From the accounting database, or without one from the file of ended jobs, which has no comments.
        """
        if self.accounts:
            form = "--format=JobID,JobName%200,State,Comment%1000"
            start = "--starttime=now-2days"
            text = self.command("sacct", "-X", "-P", "-n", form, start, "--allusers")
            rows = [line.split("|") for line in text.splitlines()]
            return [dict(zip(("id", "name", "state", "comment"), row, strict=True)) for row in rows]
        path = self.folder / "ended_jobs.txt"
        found = []
        for line in path.read_text().splitlines() if path.exists() else ():
            record = dict(word.partition("=")[::2] for word in line.split())
            named = {"id": record["JobId"], "name": record["Name"], "state": record["JobState"]}
            found.append(named | {"comment": ""})
        return found

    def daemon(self, name: str) -> psutil.Process | None:
        """A daemon of this node, where it runs."""
        try:
            process = psutil.Process(int((self.folder / f"{name}.pid").read_text()))
            return process if process.name() == name else None
        except (OSError, ValueError, psutil.Error):
            return None

    def lose_node(self) -> None:
        """Kill the node's daemon with all jobs that run on it, as when a machine loses power."""
        if daemon := self.daemon("slurmd"):
            _kill(daemon)
        self.kill_jobs()

    def kill_jobs(self) -> None:
        """Kill all jobs that run on this node, with what they started."""
        for process in psutil.process_iter(["name"]):
            if process.info["name"] != "slurmstepd" or not self._owns(process):
                continue
            for one in (process, *process.children(recursive=True)):
                _kill(one)

    def _owns(self, process: psutil.Process) -> bool:
        try:
            return Path(process.cwd()) == self.folder  # where its daemon was started
        except (psutil.Error, OSError):
            return False

    def start_daemon(self, *words: str) -> None:
        """Start a daemon that puts itself into the background."""
        log = self.folder / f"{Path(words[0]).name}.start.log"
        with open(log, "ab") as output:
            subprocess.run(
                words,
                cwd=self.folder,
                env=self.environment(),
                stdout=output,
                stderr=output,
                check=True,
                timeout=60,
            )

    def stop(self) -> None:
        """Stop all jobs and daemons of this node, and wait until they are gone."""
        self.kill_jobs()
        for name in DAEMONS:
            if process := self.daemon(name):
                process.terminate()
                _, alive = psutil.wait_procs([process], timeout=30)
                for one in alive:
                    _kill(one)


def _kill(process: psutil.Process) -> None:
    with contextlib.suppress(psutil.Error):
        process.kill()


def _wait_for(what: str, there: Callable[[], bool]) -> None:
    until = time.monotonic() + WAIT_SECONDS
    while not there():
        if time.monotonic() > until:
            raise RuntimeError(
                f"{what} did not start within {WAIT_SECONDS} s; see the logs beside slurm.conf."
            )
        time.sleep(0.2)


def _works(node: SlurmNode, *words: str) -> bool:
    try:
        node.command(*words)
    except (subprocess.SubprocessError, OSError):
        return False
    return True


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


def start(folder: Path, accounts: bool = False, gpus: bool = False) -> SlurmNode:
    """Start a node whose files lie in ``folder`` (made, mode 755).

    Raises NoSlurm where it cannot be had, RuntimeError where it does not come up.

    gpus: it has a GPU in name, in four shares, so that it can be seen what jobs ask for and are given; and
    its partition takes no long jobs (tests/slurm_conf.py).
    """
    if os.getuid() != 0:
        raise NoSlurm("A node of SLURM's can only be started by root.")
    if missing := missing_programs(accounts):
        raise NoSlurm(f"SLURM lacks {', '.join(missing)}.")
    folder = folder.resolve()
    node = SlurmNode(folder, accounts, gpus)
    for name in ("spool", "state", "munge"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    try:
        _start_daemons(node)
    except BaseException:
        node.stop()
        raise
    return node


def _start_daemons(node: SlurmNode) -> None:
    folder, accounts = node.folder, node.accounts
    ports = dict(zip(("ctld", "slurmd", "dbd", "sql"), free_ports(4), strict=True))
    _write_commands(node)
    _start_munge(node)
    if accounts:
        _start_accounts(node, ports)
    (folder / "slurm.conf").write_text(slurm_conf(folder, ports, accounts, node.gpus))
    if node.gpus:
        (folder / "gres.conf").write_text(GRES_CONF)
    if accounts:
        _wait_for("slurmdbd", lambda: _works(node, "sacctmgr", "-n", "list", "cluster"))
        _open_account(node)
    node.start_daemon("/usr/sbin/slurmctld")
    start_slurmd(node)


def start_slurmd(node: SlurmNode) -> None:
    """Start the node's daemon, also again after ``lose_node``, and wait until the node takes jobs."""
    node.start_daemon("/usr/sbin/slurmd")
    states = ("idle", "mixed", "allocated")

    def ready() -> bool:
        try:
            return node.command("sinfo", "-h", "-o", "%T").strip() in states
        except (subprocess.SubprocessError, OSError):
            return False

    _wait_for("the node", ready)


def _write_commands(node: SlurmNode) -> None:
    """The commands of users, told where this node's configuration is: within jobs that may be forgotten."""
    folder = node.folder / "bin"
    folder.mkdir(exist_ok=True)
    for name in COMMANDS:
        if found := shutil.which(name, path=SYSTEM):
            conf = node.folder / "slurm.conf"
            (folder / name).write_text(f'#!/bin/sh\nSLURM_CONF={conf} exec {found} "$@"\n')
            (folder / name).chmod(0o755)


def _start_munge(node: SlurmNode) -> None:
    folder = node.folder / "munge"
    key = folder / "munge.key"
    if not key.exists():
        key.write_bytes(secrets.token_bytes(1024))
        key.chmod(0o400)
    named = {
        "key-file": key,
        "socket": folder / "socket",
        "pid-file": node.folder / "munged.pid",
        "log-file": node.folder / "munged.log",
        "seed-file": folder / "seed",
    }
    options = [f"--{name}={path}" for name, path in named.items()]
    # --force: folders of tests may be writable by others, as those below /tmp are.
    node.start_daemon("/usr/sbin/munged", "--force", *options)
    _wait_for("munge", (folder / "socket").exists)


def _start_accounts(node: SlurmNode, ports: Mapping[str, int]) -> None:
    """A database of its own on loopback, and slurmdbd."""
    folder, data, password = node.folder, node.folder / "database", secrets.token_hex(16)
    plain = ["--no-defaults", f"--datadir={data}", "--user=root"]
    if not data.exists():
        install_db = ["mariadb-install-db", *plain, "--auth-root-authentication-method=normal"]
        node.command(*install_db)
    sql_socket, first = folder / "sql.sock", folder / "first.sql"
    # Read before the first connection: there is no moment without passwords.
    first.touch(mode=0o600)
    first.write_text(
        f"ALTER USER 'root'@'localhost' IDENTIFIED BY '{secrets.token_hex(16)}';\n"
        "DROP USER IF EXISTS 'root'@'127.0.0.1', 'root'@'::1', ''@'localhost';\n"
        "CREATE DATABASE IF NOT EXISTS slurm_acct_db;\n"
        f"CREATE OR REPLACE USER 'slurm'@'127.0.0.1' IDENTIFIED BY '{password}';\n"
        f"CREATE OR REPLACE USER 'slurm'@'localhost' IDENTIFIED BY '{password}';\n"
        "GRANT ALL ON slurm_acct_db.* TO 'slurm'@'127.0.0.1';\n"
        "GRANT ALL ON slurm_acct_db.* TO 'slurm'@'localhost';\n"
    )
    server = [
        *("setsid", "/usr/sbin/mariadbd", *plain, f"--socket={sql_socket}"),
        *(f"--pid-file={folder / 'mariadbd.pid'}", "--bind-address=127.0.0.1"),
        *(f"--port={ports['sql']}", "--innodb-buffer-pool-size=64M"),
        *("--innodb-lock-wait-timeout=900", f"--init-file={first}"),
        f"--secure-file-priv={data}",
    ]
    # It does not go into the background by itself.
    node.start_daemon("/bin/sh", "-c", f"{shlex.join(server)} &")
    client = ["mariadb", "--no-defaults", f"--socket={sql_socket}", "-u", "slurm"]
    login = [f"--password={password}", "-e", "SELECT 1", "slurm_acct_db"]
    _wait_for("the database", lambda: _works(node, *client, *login))
    path = folder / "slurmdbd.conf"
    path.touch(mode=0o600)
    path.write_text(
        f"AuthType=auth/munge\nAuthInfo=socket={folder}/munge/socket\n"
        f"DbdHost=localhost\nDbdPort={ports['dbd']}\nSlurmUser=root\n"
        f"LogFile={folder}/slurmdbd.log\nPidFile={folder}/slurmdbd.pid\n"
        "StorageType=accounting_storage/mysql\nStorageHost=127.0.0.1\n"
        f"StoragePort={ports['sql']}\nStorageUser=slurm\nStoragePass={password}\n"
        "StorageLoc=slurm_acct_db\n"
    )
    node.start_daemon("/usr/sbin/slurmdbd")


def _open_account(node: SlurmNode) -> None:
    for words in (
        ("add", "cluster", "lab"),
        ("add", "account", "lab", "Cluster=lab"),
        ("add", "user", "root", "Account=lab", "DefaultAccount=lab"),
    ):
        _works(node, "sacctmgr", "-i", *words)  # fails where it is there already


def main() -> int:
    """The command line above."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("install", "start", "stop"))
    parser.add_argument("folder", nargs="?", type=Path)
    parser.add_argument("--accounts", action="store_true", help="with an accounting database")
    given = parser.parse_args()
    if given.what != "install" and given.folder is None:
        parser.error(f"{given.what} needs the folder of the node")
    try:
        if given.what == "install":
            install(given.accounts)
        elif given.what == "start":
            print(f"export SLURM_CONF={start(given.folder, given.accounts).folder}/slurm.conf")
        else:
            SlurmNode(given.folder.resolve(), True).stop()
    except RuntimeError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
