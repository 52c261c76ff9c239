"""The raw thing: the same image started by hand with virsh on a ready bridge with a ready dnsmasq."""

import subprocess
import time
import uuid
from dataclasses import dataclass
from pathlib import Path

from bench.probe import first_answer, socket_inside
from nephos_dev.cloud import Cloud
from nephos_dev.layout import HostLayout

_BRIDGE = "rawbr0"
_NETWORK = "198.18.77"


@dataclass(frozen=True)
class RawStart:
    """Seconds from the first command to each point."""

    running_s: float
    ping_s: float


@dataclass(frozen=True)
class RawBridge:
    """A ready bridge on a host, and guests started on it by hand."""

    cloud: Cloud
    host: HostLayout
    image: Path
    folder: Path

    def make(self, guests: int) -> None:
        """Make the bridge and start its dnsmasq, which knows the guests' addresses."""
        self.folder.mkdir(parents=True, exist_ok=True)
        for command in (
            f"ip link add {_BRIDGE} type bridge",
            f"ip address add {_NETWORK}.1/24 dev {_BRIDGE}",
            f"ip link set {_BRIDGE} up",
            f"sysctl -qw net.ipv4.neigh.{_BRIDGE}.retrans_time_ms=20",
        ):
            self._run(*command.split())
        leases = [f"--dhcp-host={mac(number)},{_NETWORK}.{10 + number}" for number in range(guests)]
        self._run(
            "dnsmasq",
            "--conf-file=/dev/null",
            f"--interface={_BRIDGE}",
            "--bind-interfaces",
            "--dhcp-authoritative",
            "--no-ping",
            f"--dhcp-range={_NETWORK}.10,static",
            f"--dhcp-leasefile={self.folder}/leases",
            f"--pid-file={self.folder}/dnsmasq.pid",
            *leases,
        )

    def remove(self) -> None:
        """End dnsmasq and remove the bridge."""
        self._run("kill", (self.folder / "dnsmasq.pid").read_text().strip())
        self._run("ip", "link", "delete", _BRIDGE)

    def start(self, numbers: range) -> RawStart:
        """Start guests one after the other and return when the last of them ran, and answered a ping."""
        icmp = socket_inside(Path("/run/netns") / self.host.netns)
        begun = time.monotonic()
        for number in numbers:
            self._start_one(number)
        running = time.monotonic()
        answered = max(first_answer(icmp, f"{_NETWORK}.{10 + number}", timeout_s=60) for number in numbers)
        icmp.close()
        return RawStart(running - begun, answered - begun)

    def stop(self, numbers: range) -> None:
        """Cut their power and remove their disks."""
        for number in numbers:
            self._virsh("destroy", _name(number))
            self._disk(number).unlink()

    def _start_one(self, number: int) -> None:
        overlay = ["qemu-img", "create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", str(self.image)]
        subprocess.run([*overlay, str(self._disk(number)), "1G"], check=True, capture_output=True)
        document = self.folder / f"{_name(number)}.xml"
        document.write_text(_domain(number, self._disk(number)))
        self._virsh("create", str(document))

    def _disk(self, number: int) -> Path:
        return self.folder / f"{_name(number)}.qcow2"

    def _virsh(self, *arguments: str) -> None:
        socket = self.host.run / "libvirt" / "libvirt-sock"
        command = ["virsh", "-q", "-c", f"qemu+unix:///system?socket={socket}", *arguments]
        subprocess.run(command, check=True, capture_output=True)

    def _run(self, *command: str) -> None:
        done = self.cloud.execute(self.host, *command)
        if done.returncode:
            raise RuntimeError(f"{' '.join(command)}: {done.stderr.strip()}")


def mac(number: int) -> str:
    """Return the MAC address of a raw guest."""
    return f"52:54:00:fe:00:{number:02x}"


def _name(number: int) -> str:
    return f"raw-{number}"


def _domain(number: int, disk: Path) -> str:
    """Return the least XML that a careful person would write for this image."""
    return f"""<domain type='qemu'>
  <name>{_name(number)}</name>
  <uuid>{uuid.uuid4()}</uuid>
  <memory unit='MiB'>128</memory>
  <vcpu>1</vcpu>
  <os><type machine='q35'>hvm</type></os>
  <features><acpi/></features>
  <devices>
    <disk type='file' device='disk'>
      <driver name='qemu' type='qcow2'/>
      <source file='{disk}'/>
      <target dev='vda' bus='virtio'/>
    </disk>
    <interface type='bridge'>
      <mac address='{mac(number)}'/>
      <source bridge='{_BRIDGE}'/>
      <model type='virtio'/>
      <rom enabled='no'/>
    </interface>
    <serial type='pty'/>
    <rng model='virtio'><backend model='random'>/dev/urandom</backend></rng>
  </devices>
</domain>
"""
