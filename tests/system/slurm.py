"""A SLURM cluster of one node on this machine, started without systemd and without accounting."""

from __future__ import annotations

import getpass
import os
import random
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

CONFIGURATION = """\
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={folder}/munge/socket
CredType=cred/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldPort={controller}
SlurmdPort={daemon}
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerParameters=sched_interval=2,batch_sched_delay=1
SchedulerType=sched/builtin
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
MpiDefault=none
MinJobAge=300
ReturnToService=2
SlurmdTimeout=300
KillWait=2
SlurmdParameters=config_overrides
NodeName={host} NodeAddr=127.0.0.1 CPUs={cpus} RealMemory=64000 State=UNKNOWN
PartitionName=main Nodes={host} Default=YES MaxTime=INFINITE State=UP
"""


class Slurm:
    """The cluster; commands find it by ``environment``."""

    def __init__(self, folder: Path, *, cpus: int) -> None:
        """Start munged, slurmctld and slurmd.

        ``cpus`` may be more than the machine has: they only count jobs.
        """
        self.folder = folder
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        for name in ("munge", "state", "spool"):
            (folder / name).mkdir(parents=True)
        os.chmod(folder, 0o755)
        os.chmod(folder / "munge", 0o755)
        controller, daemon = (_free_port() for _ in range(2))
        text = CONFIGURATION.format(
            host=socket.gethostname().partition(".")[0],
            user=getpass.getuser(),
            folder=folder,
            controller=controller,
            daemon=daemon,
            cpus=cpus,
        )
        (folder / "slurm.conf").write_text(text)
        configuration = folder / "slurm.conf"
        # Snakemake hides SLURM's variables from srun within a job.
        (folder / "bin").mkdir()
        srun = folder / "bin" / "srun"
        program = shutil.which("srun")
        srun.write_text(f'#!/bin/sh\nSLURM_CONF={configuration} exec {program} "$@"\n')
        srun.chmod(0o755)
        path = os.pathsep.join([str(srun.parent), os.environ["PATH"]])
        self.environment = os.environ | {"SLURM_CONF": str(configuration), "PATH": path}
        self._start_munge()
        self._start("slurmctld", "-D", "-i")
        self._start("slurmd", "-D", "-N", socket.gethostname().partition(".")[0])
        self._wait_until_idle()

    def call(self, *words: object) -> str:
        """Run one of SLURM's commands and return what it prints."""
        return subprocess.run(
            [*map(str, words)],
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        ).stdout

    def running(self) -> list[str]:
        """Return the ids of the jobs that run."""
        return self.call("squeue", "--noheader", "--states=RUNNING", "--format=%i").split()

    def kill_a_job(self, chance: random.Random) -> bool:
        """Kill the processes of a running job, as a node without memory does."""
        jobs = self.running()
        if not jobs:
            return False
        with suppress(subprocess.CalledProcessError):  # it has ended meanwhile
            self.call("scancel", "--signal=KILL", "--full", chance.choice(jobs))
        return True

    def restart_slurmd(self) -> None:
        """Kill slurmd and start it again."""
        process = self._processes.pop("slurmd")
        process.send_signal(signal.SIGKILL)
        process.wait()
        self._start("slurmd", "-D", "-N", socket.gethostname().partition(".")[0])

    def stop(self) -> None:
        """End all jobs and processes."""
        with suppress(subprocess.SubprocessError):
            self.call("scancel", "--full", "--signal=KILL", "--user", getpass.getuser())
        for process in reversed(self._processes.values()):
            process.terminate()
        for process in self._processes.values():
            with suppress(subprocess.TimeoutExpired):
                process.wait(20)
            process.kill()

    def log(self) -> str:
        """Return the ends of the logs."""
        return "\n".join(
            f"== {path.name}\n{path.read_text(errors='replace')[-3000:]}"
            for path in sorted(self.folder.glob("*.log"))
        )

    def _start_munge(self) -> None:
        place = self.folder / "munge"
        (place / "key").write_bytes(os.urandom(128))
        os.chmod(place / "key", 0o600)
        flags = [f"--{name}-file={place / name}" for name in ("key", "pid", "log", "seed")]
        self._start("munged", "--foreground", "--force", f"--socket={place / 'socket'}", *flags)

    def _start(self, program: str, *flags: str) -> None:
        path = shutil.which(program, path=f"{os.environ['PATH']}:/usr/sbin:/sbin")
        assert path, f"no {program}; make test-system installs it"
        with (self.folder / f"{program}.log").open("ab") as log:
            self._processes[program] = subprocess.Popen(
                [path, *flags], env=self.environment, stdout=log, stderr=log
            )

    def _wait_until_idle(self) -> None:
        for _ in range(120):
            with suppress(subprocess.SubprocessError):
                if self.call("sinfo", "--noheader", "--format=%T").strip() == "idle":
                    return
            time.sleep(0.25)
        raise AssertionError(f"SLURM does not start\n{self.log()}")


@contextmanager
def slurm(folder: Path, *, cpus: int) -> Iterator[Slurm]:
    """A cluster while the block runs."""
    cluster = Slurm(folder, cpus=cpus)
    try:
        yield cluster
    finally:
        cluster.stop()


def write_profile(folder: Path, more: Mapping[str, object] = {}) -> Path:
    """Write the Snakemake profile of this cluster, which has no accounting."""
    folder.mkdir()
    values = {
        "slurm-no-account": "true",
        "slurm-status-command": "squeue",
        "slurm-init-seconds-before-status-checks": 1,
        "seconds-between-status-checks": 1,
        "latency-wait": 10,
        **more,
    }
    (folder / "config.yaml").write_text(
        "".join(f"{key}: {value}\n" for key, value in values.items())
    )
    return folder


def _free_port() -> int:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return int(server.getsockname()[1])
