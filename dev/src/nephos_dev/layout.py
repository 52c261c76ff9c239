"""Names, paths, ports and addresses of one local cloud, all derived from its name and its slot."""

import os
import re
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

DEFAULT_NAME = "nephos"
WORK_TREE = Path(__file__).resolve().parents[3]
RUNTIME_ROOT = Path("/run/nephos-dev")

SLOTS = 700  # 700 × 16 ports end below the kernel's range of ephemeral ports (32768)
_FIRST_PORT = 20_000
_PORTS_PER_SLOT = 16
_UNDERLAYS = IPv4Network("172.20.0.0/14")
_NAME = re.compile(r"[a-z][a-z0-9]{0,7}")
MOST_HOSTS = 99


class LayoutError(ValueError):
    """A cloud's name, or its number of hosts, cannot be mapped to interfaces and paths."""


def cloud_name() -> str:
    """Return the name of the cloud that this process means: NEPHOS_CLOUD, or `nephos`."""
    return os.environ.get("NEPHOS_CLOUD") or DEFAULT_NAME


def name_for_tests(purpose: str) -> str:
    """Return the name of a cloud that a test makes: `purpose`, or in a run with a name of its own (NEPHOS_TEST_CLOUD,
    at most 7 characters) that name and the first letter of `purpose`, so that runs side by side never meet.
    """
    run = os.environ.get("NEPHOS_TEST_CLOUD")
    return f"{run}{purpose[0]}" if run else purpose


def cache_dir() -> Path:
    """Return the folder for what is expensive to make: NEPHOS_CACHE, or `~/.cache/nephos`."""
    return Path(os.environ.get("NEPHOS_CACHE") or Path.home() / ".cache" / "nephos")


@dataclass(frozen=True, kw_only=True)
class Ports:
    """TCP ports of one cloud's processes in the machine's own network namespace."""

    etcd: int
    etcd_peer: int
    apiserver: int
    controller_manager: int
    image_service: int
    image_service_metrics: int
    webhook: int
    operator_metrics: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class HostLayout:
    """One host of the cloud: its namespace, its underlay address and its folders."""

    name: str
    number: int
    netns: str
    address: IPv4Address
    prefix_length: int
    root: Path
    run: Path
    logs: Path

    @property
    def supervisor_config(self) -> Path:
        """The configuration of the supervisord that is the host's init."""
        return self.root / "supervisord.conf"

    @property
    def init_script(self) -> Path:
        """The script that makes the mount namespace and becomes the host's init."""
        return self.root / "init.sh"

    @property
    def namespace_record(self) -> Path:
        """Where the running init notes its mount namespace, by which its processes are found."""
        return self.run / "mount-namespace"

    @property
    def supervisor_socket(self) -> Path:
        """The XML-RPC socket of the host's init, as seen from the machine."""
        return self.run / "nephos" / "launcher.sock"


@dataclass(frozen=True, kw_only=True)
class Layout:
    """Where one cloud lives. `slot` keeps clouds of one machine apart: ports and underlay derive from it."""

    name: str
    slot: int
    cloud_id: str
    work_tree: Path = WORK_TREE
    cache: Path
    runtime_root: Path = RUNTIME_ROOT

    def __post_init__(self) -> None:
        """Refuse names that do not fit interface names (15 characters with `-h99`)."""
        if not _NAME.fullmatch(self.name):
            raise LayoutError(
                f"cloud name {self.name!r}: use 1 to 8 characters a-z and 0-9, a letter first (NEPHOS_CLOUD)"
            )
        if not 0 <= self.slot < SLOTS:
            raise LayoutError(f"slot {self.slot} is not in 0..{SLOTS - 1}")

    @property
    def state(self) -> Path:
        """Everything of this cloud that is a file."""
        return state_dir(self.work_tree, self.name)

    @property
    def run(self) -> Path:
        """Sockets and what a reboot of the machine clears."""
        return self.runtime_root / self.name

    @property
    def kubeconfig(self) -> Path:
        """The cluster admin's kubeconfig."""
        return self.state / "kubeconfig"

    @property
    def shell_settings(self) -> Path:
        """What a shell sources to have this cloud's kubectl and nephos-dev."""
        return self.state / "env"

    @property
    def ssh_key(self) -> Path:
        """The private key of `ops`, who logs in to guests."""
        return self.state / "ssh" / "ops"

    @property
    def ssh_settings(self) -> Path:
        """What ssh is told, so that it takes that key."""
        return self.state / "ssh" / "config"

    @property
    def kubeconfigs(self) -> Path:
        """The kubeconfigs of the cloud's components."""
        return self.state / "kubeconfigs"

    @property
    def logs(self) -> Path:
        """One log a component; those of a host in a folder of its name."""
        return self.state / "logs"

    @property
    def pki(self) -> Path:
        """The cloud's own certificate authority and what it issued."""
        return self.state / "pki"

    @property
    def kubernetes_pki(self) -> Path:
        """Keys and certificates of the control plane."""
        return self.state / "kubernetes-pki"

    @property
    def etcd_data(self) -> Path:
        """The data folder of etcd."""
        return self.state / "etcd"

    @property
    def image_store(self) -> Path:
        """What the image service keeps, by content hash."""
        return self.state / "image-store"

    @property
    def image_files(self) -> Path:
        """The folder that `file://` sources of the catalog are confined to."""
        return self.cache / "images"

    @property
    def bytecode(self) -> Path:
        """Where Python keeps what it compiled for the cloud's processes."""
        return self.cache / "bytecode"

    @property
    def supervisor_config(self) -> Path:
        """The configuration of the supervisord of this cloud."""
        return self.state / "supervisord.conf"

    @property
    def supervisor_socket(self) -> Path:
        """The XML-RPC socket of the supervisord of this cloud."""
        return self.run / "supervisor.sock"

    @property
    def underlay(self) -> IPv4Network:
        """The network between hosts and machine; its first address is the machine's."""
        return list(_UNDERLAYS.subnets(new_prefix=24))[self.slot]

    @property
    def gateway(self) -> IPv4Address:
        """The machine's address on the underlay: API server and image service listen there."""
        return self.underlay[1]

    @property
    def underlay_netns(self) -> str:
        """The namespace of the underlay's bridge, out of reach of the machine's own firewall."""
        return f"{self.name}-ul"

    @property
    def underlay_interface(self) -> str:
        """The machine's leg on the underlay."""
        return f"{self.name}-ul"

    @property
    def internet_netns(self) -> str:
        """The namespace that stands for the world outside of the cloud."""
        return f"{self.name}-internet"

    @property
    def ports(self) -> Ports:
        """The ports of this slot."""
        base = _FIRST_PORT + self.slot * _PORTS_PER_SLOT
        return Ports(
            etcd=base,
            etcd_peer=base + 1,
            apiserver=base + 2,
            controller_manager=base + 3,
            image_service=base + 4,
            image_service_metrics=base + 5,
            webhook=base + 6,
            operator_metrics=tuple(range(base + 7, base + _PORTS_PER_SLOT)),
        )

    @property
    def apiserver_url(self) -> str:
        """The API server as every process of this cloud reaches it, hosts included."""
        return f"https://{self.gateway}:{self.ports.apiserver}"

    @property
    def image_service_url(self) -> str:
        """The image service as hosts reach it."""
        return f"https://{self.gateway}:{self.ports.image_service}"

    @property
    def webhook_url(self) -> str:
        """The admission webhook as the API server reaches it; all replicas share the port."""
        return f"https://{self.gateway}:{self.ports.webhook}"

    def host(self, number: int) -> HostLayout:
        """Return host `number` (from 1). Raises LayoutError above 99."""
        if not 1 <= number <= MOST_HOSTS:
            raise LayoutError(f"a local cloud has 1 to {MOST_HOSTS} hosts, not {number}")
        name = f"{self.name}-h{number}"
        return HostLayout(
            name=name,
            number=number,
            netns=name,
            address=self.underlay[10 + number],
            prefix_length=self.underlay.prefixlen,
            root=self.state / "hosts" / name,
            run=self.run / "hosts" / name,
            logs=self.logs / name,
        )

    def hosts(self, count: int) -> tuple[HostLayout, ...]:
        """Return the first `count` hosts."""
        return tuple(self.host(number) for number in range(1, count + 1))

    def known_hosts(self) -> tuple[HostLayout, ...]:
        """Return the hosts that have a folder, which is all that were ever started."""
        folder = self.state / "hosts"
        return self.hosts(len(list(folder.iterdir())) if folder.is_dir() else 0)


def state_dir(work_tree: Path, name: str) -> Path:
    """Return the state folder of cloud `name`: `.nephos` for the default one, a folder below it for others."""
    root = work_tree / ".nephos"
    return root if name == DEFAULT_NAME else root / "clouds" / name
