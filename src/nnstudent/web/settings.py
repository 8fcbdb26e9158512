"""What a service may take in, keep, and for how long."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

GB = 10**9
TOKEN_VARIABLE = "NNSTUDENT_TOKEN"  # noqa: S105  # the name of a variable
PACS_VARIABLES = ("NNSTUDENT_PACS_USER", "NNSTUDENT_PACS_PASSWORD", "NNSTUDENT_PACS_TOKEN")
SECRETS = (
    TOKEN_VARIABLE,
    *PACS_VARIABLES,
    "NETRC",
)  # variables that no process of the service inherits


@dataclass(frozen=True)
class Limits:
    """Bounds of a service.

    Attributes:
        upload_bytes: Of one upload, and of what an archive holds.
        files: In one upload or archive.
        voxels: Of one image; what is larger would not fit into memory.
        uploads: Received at the same time.
        jobs: Waiting or running at the same time.
        disk_bytes: Of all jobs; the oldest finished ones make room.
        keep_hours: How long a finished job is kept.
        job_minutes: After which a job that still runs is given up.
        request_seconds: For the headers of a request, and for a short body.
        stall_seconds: An upload or download that stays below the least rate this long is cut off.
        yield_seconds: As ``stall_seconds``, for an upload that another one waits for.
        least_rate: Bytes per second that an upload must keep up on average.
        connections: Open at the same time.
        client_connections: Of one address other than this machine.
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
    """Bounds of the listener for C-STORE.

    Attributes:
        connections: Open at the same time.
        client_connections: Of one address other than this machine.
        pdu_bytes: Longest PDU.
        pdu_seconds: That one PDU may take from its first byte to its last, and a connection until its first association.
        idle_seconds: After which an association that does nothing gives way where another connection needs its place.
        network_seconds: After which an association that does nothing is ended.
    """

    connections: int = 32
    client_connections: int = 16
    pdu_bytes: int = 1 << 20
    pdu_seconds: float = 10.0
    idle_seconds: float = 10.0
    network_seconds: float = 60.0


@dataclass(frozen=True)
class Hospital:
    """How a service is joined to a hospital's archive.

    Attributes:
        pacs: Root of the PACS' DICOMweb service; None for none.
        authorization: Value of the header of that name, for ``pacs``.
        peer: Where results are sent by C-STORE, ``AET@HOST:PORT``; None to store them in ``pacs``.
        listen: Host and port at which scans are received by C-STORE; None not to listen.
        title: Application entity title of the service, as caller and as called.
        callers: Titles of those who may send; empty for all.
        quiet_seconds: A study is complete when nothing of it came for this long and nobody who sent some of it is still connected.
    """

    pacs: str | None = None
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
        work: Folder of the jobs; of this service alone.
        model: Bundle or nnU-Net folder; None for the bundled student.
        threads: Processor threads of the worker; None for all.
        host: Name or address that it listens at.
        port: Port that it listens at; names the cookie, since browsers do not tell ports apart.
        token: What everybody must show; empty where the service is reached from this machine only.
        names: Further host names that it is called by, such as that of a proxy before it.
        debug: Whether the worker may write to standard error, which can name a patient.
        limits: Bounds.
        hospital: The archive that it is joined to.
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
    hospital: Hospital = field(default_factory=Hospital)
