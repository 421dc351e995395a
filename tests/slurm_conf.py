"""The configuration of the SLURM of one node that tests start (tests/slurm_node.py)."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from pathlib import Path

import psutil

# One GPU in name, in four shares: what jobs ask for and are given can be seen, and torch finds none.
SHORT_MINUTES = 12
GRES_CONF = "Name=gpu File=/dev/null\nName=shard Count=4\n"


def slurm_conf(folder: Path, ports: Mapping[str, int], accounts: bool, gpus: bool) -> str:
    """One partition, cores and memory handed out, jobs above their memory or time killed.

    gpus: with those in name, and no job longer than ``SHORT_MINUTES``.
    """
    host = socket.gethostname().partition(".")[0]
    memory = psutil.virtual_memory().total // 2**20 * 9 // 10
    longest = SHORT_MINUTES if gpus else "INFINITE"
    gres = "Gres=gpu:1,shard:4" if gpus else ""
    settings = {
        "ClusterName": "lab",
        "SlurmctldHost": f"{host}(127.0.0.1)",
        "SlurmUser": "root",
        "SlurmdUser": "root",
        "AuthType": "auth/munge",
        "AuthInfo": f"socket={folder}/munge/socket",
        "CredType": "cred/munge",
        "MpiDefault": "none",
        "ProctrackType": "proctrack/linuxproc",
        "TaskPlugin": "task/none",
        "ReturnToService": 2,
        "SlurmctldPidFile": f"{folder}/slurmctld.pid",
        "SlurmdPidFile": f"{folder}/slurmd.pid",
        "SlurmdSpoolDir": f"{folder}/spool",
        "StateSaveLocation": f"{folder}/state",
        "SlurmctldLogFile": f"{folder}/slurmctld.log",
        "SlurmdLogFile": f"{folder}/slurmd.log",
        "SlurmctldPort": ports["ctld"],
        "SlurmdPort": ports["slurmd"],
        "SlurmdTimeout": 10,
        "SchedulerType": "sched/backfill",
        "SchedulerParameters": "batch_sched_delay=0,sched_interval=2,bf_interval=2",
        "SelectType": "select/cons_tres",
        "SelectTypeParameters": "CR_Core_Memory",
        "MinJobAge": 3600,
        "KillWait": 5,
        "JobRequeue": 1,
        # Daemons listen on their own address, 127.0.0.1, and not on all.
        "CommunicationParameters": "NoCtldInAddrAny,NoInAddrAny",
        "JobCompType": "jobcomp/filetxt",
        "JobCompLoc": f"{folder}/ended_jobs.txt",
        "JobAcctGatherType": "jobacct_gather/linux",
        "JobAcctGatherFrequency": 1,
        "JobAcctGatherParams": "OverMemoryKill",
        "AccountingStorageType": "accounting_storage/none",
        "NodeName": f"{host} NodeAddr=127.0.0.1 CPUs={os.cpu_count()} RealMemory={memory} {gres}",
        "PartitionName": f"main Nodes=ALL Default=YES MaxTime={longest} DefMemPerCPU=1000 State=UP",
    }
    if gpus:
        settings = {"GresTypes": "gpu,shard"} | settings
    if accounts:
        settings |= {
            "AccountingStorageType": "accounting_storage/slurmdbd",
            "AccountingStorageHost": "localhost",
            "AccountingStoragePort": ports["dbd"],
            # of munge's socket; AuthInfo does not count for the database
            "AccountingStoragePass": f"{folder}/munge/socket",
            "AccountingStoreFlags": "job_comment",
        }
    return "".join(f"{key}={value}\n" for key, value in settings.items())
