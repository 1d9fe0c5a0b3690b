#!/usr/bin/env python3
"""Tasks per second of HyperQueue and Dask with 8 local workers, for bench_cluster --python.

Prints "NAME TASKS_PER_SECOND" lines. Installs nothing: the interpreter that runs it must have `hyperqueue` and
`distributed`. HyperQueue runs programs, so its empty task is `true`; its journal is off and its output is not kept.
Dask's empty task is a function that returns None; it keeps nothing on a disk.
"""
import logging
import os
import sys
import time

WORKERS = 8


def nothing(i):
    return None


def dask(tasks):
    import dask as settings
    from distributed import Client, LocalCluster

    settings.config.set({"distributed.worker.daemon": False})
    with LocalCluster(n_workers=WORKERS, threads_per_worker=1, dashboard_address=None,
                      silence_logs=logging.CRITICAL) as cluster, Client(cluster) as client:
        client.gather(client.map(nothing, range(100), pure=False))
        begun = time.monotonic()
        client.gather(client.map(nothing, range(tasks), pure=False))
        return tasks / (time.monotonic() - begun)


def hyperqueue(tasks):
    from hyperqueue import Job, LocalCluster
    from hyperqueue.cluster import WorkerConfig

    def run(client, n):
        job = Job()
        for _ in range(n):
            job.program(["true"], stdout=None, stderr=None)
        client.wait_for_jobs([client.submit(job)])

    with LocalCluster() as cluster:
        for _ in range(WORKERS):
            cluster.start_worker(WorkerConfig(cores=1))
        client = cluster.client()
        run(client, 50)
        begun = time.monotonic()
        run(client, tasks)
        return tasks / (time.monotonic() - begun)


if __name__ == "__main__":
    os.environ.setdefault("RUST_LOG", "error")
    n = int(sys.argv[1]) if len(sys.argv) > 1 else 3000
    print("hyperqueue", hyperqueue(n), flush=True)
    print("dask", dask(n), flush=True)
