"""Settings and limits of the service."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

GB = 10**9
TOKEN_VARIABLE = "NNSTUDENT_TOKEN"  # noqa: S105  # the name of a variable
PACS_VARIABLES = ("NNSTUDENT_PACS_USER", "NNSTUDENT_PACS_PASSWORD", "NNSTUDENT_PACS_TOKEN")
SECRETS = (TOKEN_VARIABLE, *PACS_VARIABLES, "NETRC")  # never passed on to a child process


@dataclass(frozen=True)
class Limits:
    """Limits of a service.

    Attributes:
        upload_bytes: Largest upload, and largest archive when unpacked.
        files: Most files in one upload or archive.
        voxels: Most voxels of one image; a larger one would not fit into memory.
        uploads: Most uploads received at the same time.
        jobs: Most jobs waiting or running at the same time.
        disk_bytes: Disk space of all jobs; the oldest finished jobs make room.
        keep_hours: How long a finished job is kept.
        job_minutes: A job that runs longer is stopped.
        request_seconds: Time for the headers of a request, and for a short body.
        stall_seconds: A transfer that stays below ``least_rate`` for this long is cut off.
        yield_seconds: The same for an upload while another one waits.
        least_rate: Average bytes per second that an upload must reach.
        connections: Most open connections.
        client_connections: Most open connections of one client, unless it is this machine.
    """

    upload_bytes: int = 2 * GB
    files: int = 5000
    voxels: int = 600_000_000
    uploads: int = 8
    jobs: int = 100
    disk_bytes: int = 20 * GB
    keep_hours: float = 24.0
    job_minutes: float = 60.0
    request_seconds: float = 10.0
    stall_seconds: float = 30.0
    yield_seconds: float = 3.0
    least_rate: int = 20_000
    connections: int = 200
    client_connections: int = 32


@dataclass(frozen=True)
class ListenLimits:
    """Limits of the C-STORE listener.

    Attributes:
        connections: Most open connections.
        client_connections: Most open connections of one client, unless it is this machine.
        pdu_bytes: Longest PDU.
        pdu_seconds: Time for one PDU from its first byte to its last, and for a connection until
            its first association.
        idle_seconds: An association that is idle for this long makes room for a new connection.
        network_seconds: An association that is idle for this long is ended.
    """

    connections: int = 32
    client_connections: int = 16
    pdu_bytes: int = 1 << 20
    pdu_seconds: float = 10.0
    idle_seconds: float = 10.0
    network_seconds: float = 60.0


@dataclass(frozen=True)
class PacsSettings:
    """How a service is connected to a PACS.

    Attributes:
        url: Root of its DICOMweb service; None if there is none.
        authorization: Value of the ``Authorization`` header for ``url``.
        peer: Where results are sent by C-STORE, as ``AET@HOST:PORT``; None to store them at
            ``url``.
        listen: Host and port to receive scans by C-STORE; None not to listen.
        title: Application entity title of the service, as caller and as called.
        callers: Application entity titles that may send; empty for all.
        quiet_seconds: A study is complete when nothing of it has arrived for this long and none of
            its senders is still connected.
    """

    url: str | None = None
    authorization: str | None = field(default=None, repr=False)
    peer: str | None = None
    listen: tuple[str, int] | None = None
    title: str = "NNSTUDENT"
    callers: tuple[str, ...] = ()
    quiet_seconds: float = 5.0


@dataclass(frozen=True)
class Settings:
    """How a service runs.

    Attributes:
        work: Folder of the jobs; no other service may use it.
        model: Bundle or nnU-Net folder; None for the bundled student.
        threads: Processor threads of the worker; None for all.
        host: Name or address to listen at.
        port: Port to listen at. It is part of the cookie's name, because browsers send cookies to
            every port of a host.
        token: Token that every user must give; empty if only this machine can reach the service.
        names: Further host names of the service, such as that of a proxy in front of it.
        debug: Whether the worker may write to standard error, where a patient's name can appear.
        limits: Limits.
        pacs: The PACS that it is connected to.
        datastore: Folder of scans that users correct together; None for none.
        preset: Preset whose student is trained on corrections; None if nothing is trained.
        rehearsal: Fused cohort that every training learns again, so that it is not forgotten.
        origins: Origins of other sites whose pages may use the datastore, such as that of a viewer.
    """

    work: Path
    model: Path | None = None
    threads: int | None = None
    host: str = "127.0.0.1"
    port: int = 8765
    token: str = ""
    names: tuple[str, ...] = ()
    debug: bool = False
    limits: Limits = field(default_factory=Limits)
    pacs: PacsSettings = field(default_factory=PacsSettings)
    datastore: Path | None = None
    preset: str | None = None
    rehearsal: Path | None = None
    origins: tuple[str, ...] = ()
