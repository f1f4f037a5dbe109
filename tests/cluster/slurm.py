"""A SLURM of one node on this machine, for tests: munge, slurmctld and slurmd on loopback, without accounting.

    with cluster(folder, n_gpus=2) as node:
        ...

Nothing of it outlives the block, and nothing is written outside `folder` but Debian's packages (`install`) and, for as
long as it runs, the link /etc/slurm/slurm.conf: Snakemake hides SLURM_CONF from the steps of its jobs.
"""

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PACKAGES = ("munge", "slurm-client", "slurmctld", "slurmd")
PROGRAMS = ("munged", "sbatch", "slurmctld", "slurmd")
# Sixteen CPUs and some GPUs by word of the configuration alone: SLURM takes any file for a GPU's device. Finished jobs
# stay listed for a day, since squeue is what Snakemake asks.
CONFIGURATION = """
ClusterName=envsound
SlurmctldHost=localhost(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
SlurmdParameters=config_overrides
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
MpiDefault=none
ReturnToService=2
MinJobAge=86400
GresTypes=gpu
NodeName=node1 NodeHostname={host} NodeAddr=127.0.0.1 CPUs=16 RealMemory=64000 Gres=gpu:{n_gpus}
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""
ADDRESS = Path("/etc/slurm/slurm.conf")
DEVICES = ("/dev/null", "/dev/zero")


def install() -> str:
    """Install SLURM where it is missing; return why that cannot be, or an empty text."""
    if ADDRESS.exists():
        return f"{ADDRESS} is there, so that this machine belongs to a cluster"
    if all(map(shutil.which, PROGRAMS)):
        return "" if os.geteuid() == 0 else "root is needed to run it"
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        return "root and apt-get are needed to install it"
    quiet = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    for command in (["update"], ["install", "-y", "--no-install-recommends", *PACKAGES]):
        done = subprocess.run(["apt-get", "-qq", *command], env=quiet, capture_output=True, text=True)
    return f"apt-get install {' '.join(PACKAGES)} failed: {done.stderr.strip()[-300:]}" if done.returncode else ""


@contextmanager
def cluster(folder: Path, n_gpus: int) -> Iterator[str]:
    """Start a cluster with its files in `folder` and yield the name of its node; stop its jobs and itself in the end.

    Raises RuntimeError, with the ends of its logs, when the node is not idle after half a minute.
    """
    for name in ("state", "spool"):
        (folder / name).mkdir(parents=True)
    settings = {"folder": folder, "host": socket.gethostname().split(".")[0], "ports": _free_ports(2)}
    (folder / "slurm.conf").write_text(CONFIGURATION.format(n_gpus=n_gpus, **settings))
    (folder / "gres.conf").write_text("".join(f"Name=gpu File={device}\n" for device in DEVICES[:n_gpus]))
    ADDRESS.unlink(missing_ok=True)  # a link that a killed test has left leads nowhere
    ADDRESS.symlink_to(folder / "slurm.conf")
    here = str(folder / "slurm.conf")  # gres.conf is looked for beside it
    started: list[subprocess.Popen] = []
    try:
        for command in (_munge(folder), ["slurmctld", "-D", "-f", here], ["slurmd", "-D", "-f", here, "-N", "node1"]):
            with (folder / f"{command[0]}.out").open("wb") as log:
                started.append(subprocess.Popen(command, stdout=log, stderr=log))
            time.sleep(1)
        _wait_until_idle(folder)
        yield "node1"
    finally:
        subprocess.run(["scancel", "--user=root"], timeout=30, capture_output=True)
        time.sleep(1)
        for process in reversed(started):
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        ADDRESS.unlink()


def ask(*command: str) -> list[str]:
    """Return the lines that a command of SLURM prints. Raises CalledProcessError when it fails."""
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=30).stdout.splitlines()


def jobs() -> dict[str, tuple[str, str]]:
    """Return every job of the cluster, finished or not: (state, Snakemake's comment) by id."""
    lines = ask("squeue", "--all", "--noheader", "--states=all", "--format=%i|%T|%k")
    return {name: (state, comment) for name, state, comment in (line.split("|", 2) for line in lines)}


def _free_ports(count: int) -> list[int]:
    probes = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [probe.getsockname()[1] for probe in probes]
    for probe in probes:
        probe.close()
    return ports


def _munge(folder: Path) -> list[str]:
    """Write a key and return the command of a munge of its own. It refuses folders that others may write, as /tmp."""
    (folder / "munge.key").write_bytes(os.urandom(1024))
    (folder / "munge.key").chmod(0o400)
    files = {"key-file": "key", "socket": "socket", "pid-file": "pid", "log-file": "log", "seed-file": "seed"}
    named = [f"--{option}={folder}/munge.{suffix}" for option, suffix in files.items()]
    return ["munged", "--foreground", "--force", *named]


def _wait_until_idle(folder: Path) -> None:
    ends = time.monotonic() + 30
    while time.monotonic() < ends:
        state = subprocess.run(["sinfo", "--noheader", "--format=%T"], capture_output=True, text=True, timeout=30)
        if state.stdout.strip() == "idle":
            return
        time.sleep(0.5)
    logs = "\n".join(path.read_text()[-1000:] for path in sorted(folder.glob("slurm*.log")))
    raise RuntimeError(f"SLURM did not start ({state.stdout.strip() or state.stderr.strip()}):\n{logs}")
