"""etcd, API server, controller manager and scheduler, in one network namespace."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from dataclasses import dataclass
from typing import TYPE_CHECKING

from e2e.kubernetes.lab.access import write_kubeconfig
from e2e.kubernetes.lab.pki import Authority, service_account_keys
from lab.process import Process, running

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from e2e.kubernetes.lab.pki import KeyPair
    from e2e.kubernetes.lab.programs import Programs
    from lab.network import Host

SERVICES = "10.96.0.0/16"  # addresses of Services; the first is the API server's
API_SERVICE = "10.96.0.1"
_PORT = 6443
ETCD = "http://127.0.0.1:2379"
_START_SECONDS = 90  # 4 s on a quiet machine


@dataclass
class ControlPlane:
    """May lose its API server and get it back; the others wait for it, as they do in life."""

    folder: Path
    programs: Programs
    host: Host
    authority: Authority
    accounts: KeyPair
    etcd_program: str
    api_server: Process | None = None

    @property
    def url(self) -> str:
        return f"https://{self.host.ipv4}:{_PORT}"

    def kubeconfig(self, label: str, common_name: str, *, group: str = "") -> Path:
        """Access for somebody, as a file in the cluster's folder."""
        pair = self.authority.issue(label, common_name, group=group)
        path = self.folder / f"{label}.kubeconfig"
        return write_kubeconfig(path, server=self.url, authority=self.authority.certificate, pair=pair)

    # The API server

    async def start_api_server(self, *flags: str, issuer: Authority | None = None) -> None:
        """Return when it is ready. Its certificate is a new one each time, of the cluster's authority or another."""
        names = ["kubernetes", "kubernetes.default", "kubernetes.default.svc", API_SERVICE, self.host.ipv4]
        pair = (issuer or self.authority).issue("api-server", "kube-apiserver", addresses=names)
        argv = [self.programs.path("kube-apiserver"), *self._flags(pair), *flags]
        self.api_server = await Process.start(
            argv, log=self.folder / "kube-apiserver.log", namespace=self.host.namespace
        )
        await self.api_server.wait_ready(self.is_ready, timeout=_START_SECONDS)

    async def stop_api_server(self) -> None:
        """End it at once, as a machine does that loses its power."""
        if self.api_server:
            await self.api_server.kill()

    async def is_ready(self) -> bool:
        """Whether it says so itself."""
        try:
            return await asyncio.to_thread(self._asks_readyz)
        except OSError:
            return False

    def _asks_readyz(self) -> bool:
        context = ssl.create_default_context(cafile=str(self.authority.certificate))
        with self.host.namespace.open_socket() as plain:
            plain.settimeout(5)
            plain.connect((self.host.ipv4, _PORT))
            with context.wrap_socket(plain, server_hostname=self.host.ipv4) as sock:
                sock.sendall(b"GET /readyz HTTP/1.0\r\n\r\n")
                return sock.recv(64).startswith((b"HTTP/1.0 200", b"HTTP/1.1 200"))

    def _flags(self, pair: KeyPair) -> list[str]:
        kubelets = self.authority.issue("api-server-kubelet", "kube-apiserver-kubelet-client", group="system:masters")
        return [
            f"--advertise-address={self.host.ipv4}",
            f"--secure-port={_PORT}",
            f"--etcd-servers={ETCD}",
            f"--service-cluster-ip-range={SERVICES}",
            f"--client-ca-file={self.authority.certificate}",
            f"--tls-cert-file={pair.certificate}",
            f"--tls-private-key-file={pair.key}",
            "--service-account-issuer=https://kubernetes.default.svc",
            f"--service-account-key-file={self.accounts.certificate}",
            f"--service-account-signing-key-file={self.accounts.key}",
            f"--kubelet-client-certificate={kubelets.certificate}",
            f"--kubelet-client-key={kubelets.key}",
            "--kubelet-preferred-address-types=InternalIP",
            "--authorization-mode=Node,RBAC",
            "--enable-admission-plugins=NodeRestriction",
            "--allow-privileged=true",
        ]

    # The rest

    @contextlib.asynccontextmanager
    async def controllers(self) -> AsyncIterator[None]:
        """Controller manager and scheduler."""
        async with self._controller_manager(), self._scheduler():
            yield

    def _controller_manager(self) -> contextlib.AbstractAsyncContextManager[Process]:
        name = "kube-controller-manager"
        access = self.kubeconfig(name, f"system:{name}")
        argv = [
            self.programs.path(name),
            f"--kubeconfig={access}",
            f"--service-account-private-key-file={self.accounts.key}",
            f"--root-ca-file={self.authority.certificate}",
            "--use-service-account-credentials=true",
            # There is one of it, so nobody else's lease is to be waited for.
            "--leader-elect=false",
        ]
        return running(argv, log=self.folder / f"{name}.log", namespace=self.host.namespace)

    def _scheduler(self) -> contextlib.AbstractAsyncContextManager[Process]:
        name = "kube-scheduler"
        access = self.kubeconfig(name, f"system:{name}")
        argv = [self.programs.path(name), f"--kubeconfig={access}", "--leader-elect=false"]
        return running(argv, log=self.folder / f"{name}.log", namespace=self.host.namespace)


@contextlib.asynccontextmanager
async def running_control_plane(
    folder: Path, programs: Programs, host: Host, *, etcd_program: str = ""
) -> AsyncIterator[ControlPlane]:
    """A control plane that answers. `etcd_program` is another etcd than the lab's own, such as Debian's."""
    folder.mkdir()
    authority = Authority(folder / "pki")
    accounts = service_account_keys(folder / "pki")
    etcd = etcd_program or programs.path("etcd")
    plane = ControlPlane(folder, programs, host, authority, accounts, etcd)
    # Nothing here outlives the machine: without fsync a start is quicker on a busy disk. 3.4 does not know that flag.
    quick = [] if etcd_program else ["--unsafe-no-fsync"]
    argv = [etcd, f"--data-dir={folder / 'etcd'}", *quick, "--log-level=warn"]
    async with running(argv, log=folder / "etcd.log", namespace=host.namespace):
        try:
            await plane.start_api_server()
            async with plane.controllers():
                yield plane
        finally:
            # Told to end in order it waits for its watchers, who do not know of it.
            await plane.stop_api_server()
