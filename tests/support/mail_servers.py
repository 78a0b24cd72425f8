"""Debian's Postfix and Exim as instances of their own: unpacked, not installed, on loopback."""

import os
import shutil
import signal
import subprocess
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path

from tests.support.ports import free_port

PACKAGES = ("postfix", "exim4-daemon-light", "libidn12")
USER, GROUP = "mail", "proxy"  # every Debian has them, and nothing here needs a user of its own
QUEUES = (
    *("active", "bounce", "corrupt", "defer", "deferred", "flush", "hold", "incoming"),
    *("maildrop", "private", "public", "saved", "trace"),
)
UNKNOWN = "nobody"  # recipients whose name begins so are refused


def unpack(folder: Path) -> None:
    """Needs Debian, and network access to its packages."""
    folder.chmod(0o755)
    subprocess.run(["apt-get", "download", "-qq", *PACKAGES], cwd=folder, check=True, capture_output=True)  # noqa: S607  # Debian's own
    for package in folder.glob("*.deb"):
        subprocess.run(["dpkg", "-x", package, folder / "root"], check=True)  # noqa: S607  # Debian's own


class MailServer(ABC):
    """Passes on to `onward` on this machine what it takes, and allows `connections` at once."""

    def __init__(self, root: Path, folder: Path, *, onward: int, connections: int) -> None:
        self.port = free_port()
        self._root = root
        self._folder = folder
        self._onward = onward
        self._connections = connections
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        for parent in (self._folder, *self._folder.parents[:3]):
            parent.chmod(parent.stat().st_mode | 0o055)  # for its processes, which are not root
        command, environment = self._prepare()
        with (self._folder / "out").open("wb") as out:
            self._process = subprocess.Popen(
                command, env=os.environ | dict(environment), stdout=out, stderr=out, start_new_session=True
            )
        deadline = time.monotonic() + 20
        while not self._is_listening():
            assert self._process.poll() is None, (self._folder / "out").read_text()
            assert time.monotonic() < deadline
            time.sleep(0.1)

    def stop(self) -> None:
        if self._process:
            os.killpg(self._process.pid, signal.SIGTERM)
            self._process.wait(20)

    @abstractmethod
    def _prepare(self) -> tuple[list[str], Mapping[str, str]]:
        """Writes the configuration; returns the command and its environment."""

    def _is_listening(self) -> bool:
        hexadecimal = f":{self.port:04X} 00000000:0000 0A"  # a try to connect would count as a client
        return hexadecimal in Path("/proc/net/tcp").read_text()


class Postfix(MailServer):
    def _prepare(self) -> tuple[list[str], Mapping[str, str]]:
        programs = self._root / "usr/lib/postfix"
        queue, data = self._folder / "queue", self._folder / "data"
        for name in QUEUES:
            (queue / name).mkdir(parents=True)
            shutil.chown(queue / name, USER)
        (queue / "pid").mkdir()
        data.mkdir()
        shutil.chown(data, USER)
        for name in ("maildrop", "public"):
            shutil.chown(queue / name, USER, GROUP)
        (self._folder / "dynamicmaps.cf").touch()
        (self._folder / "main.cf").write_text(
            f"""
compatibility_level = 3.6
queue_directory = {queue}
data_directory = {data}
daemon_directory = {programs}/sbin
command_directory = {self._root}/usr/sbin
shlib_directory = {programs}
meta_directory = {self._folder}
mail_owner = {USER}
setgid_group = {GROUP}
import_environment = LD_LIBRARY_PATH={programs} MAIL_CONFIG={self._folder}
maillog_file = {self._folder}/log
maillog_file_prefixes = /
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
myhostname = relay.example.com
mydestination =
mynetworks = 127.0.0.0/8
alias_maps =
local_recipient_maps =
disable_dns_lookups = yes
relayhost = [127.0.0.1]:{self._onward}
smtpd_client_connection_count_limit = {self._connections}
smtpd_client_event_limit_exceptions =
smtpd_recipient_restrictions = check_recipient_access regexp:{{{{/^{UNKNOWN}/ 550 5.1.1 User unknown}}}}
"""
        )
        services = f"127.0.0.1:{self.port} inet n - n - - smtpd\n" + "".join(
            f"{line}\n"
            for line in (
                "cleanup unix n - n - 0 cleanup",
                "qmgr unix n - n 300 1 qmgr",
                "rewrite unix - - n - - trivial-rewrite",
                "bounce unix - - n - 0 bounce",
                "defer unix - - n - 0 bounce",
                "trace unix - - n - 0 bounce",
                "flush unix n - n 1000? 0 flush",
                "proxymap unix - - n - - proxymap",
                "smtp unix - - n - - smtp",
                "relay unix - - n - - smtp",
                "error unix - - n - - error",
                "retry unix - - n - - error",
                "anvil unix - - n - 1 anvil",
                "scache unix - - n - 1 scache",
                "postlog unix-dgram n - n - 1 postlogd",
            )
        )
        (self._folder / "master.cf").write_text(services)
        return [f"{programs}/sbin/master", "-c", str(self._folder), "-d"], {"LD_LIBRARY_PATH": str(programs)}


class Exim(MailServer):
    def _prepare(self) -> tuple[list[str], Mapping[str, str]]:
        for name in ("spool", "log"):
            (self._folder / name).mkdir()
            shutil.chown(self._folder / name, USER, USER)
        (self._folder / "conf").write_text(
            f"""
primary_hostname = relay.example.com
daemon_smtp_ports = {self.port}
local_interfaces = <; 127.0.0.1
exim_user = {USER}
exim_group = {USER}
spool_directory = {self._folder}/spool
log_file_path = {self._folder}/log/%slog
pid_file_path = {self._folder}/pid
host_lookup =
rfc1413_hosts =
tls_advertise_hosts =
deliver_drop_privilege = true
keep_environment =
smtp_accept_max = {self._connections}
acl_smtp_rcpt = rcpt
begin acl
rcpt:
  deny message = Unknown user
       local_parts = ^{UNKNOWN}
  accept hosts = 127.0.0.1
begin routers
onward:
  driver = manualroute
  route_list = * 127.0.0.1
  self = send
  transport = onward
begin transports
onward:
  driver = smtp
  port = {self._onward}
  allow_localhost
begin retry
* * F,1h,1s
"""
        )
        # Exim looks for the user of its package: only it sees the one who stands in.
        for name, entry in (("passwd", "Debian-exim:x:8:8::/:/bin/false"), ("group", "Debian-exim:x:8:")):
            (self._folder / name).write_text(Path("/etc", name).read_text() + entry + "\n")
        mounts = " && ".join(
            f"mount --bind {self._folder}/{name} /etc/{name}" for name in ("passwd", "group")
        )
        exim = f"exec {self._root}/usr/sbin/exim4 -C {self._folder}/conf -bdf -q1s"
        libraries = ":".join(map(str, self._root.glob("usr/lib/*-linux-gnu")))
        return ["unshare", "-m", "sh", "-c", f"{mounts} && {exim}"], {"LD_LIBRARY_PATH": libraries}
