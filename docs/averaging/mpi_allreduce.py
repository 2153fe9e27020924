#!/usr/bin/env python3
"""Averaging over MPI: what a user would run instead, timed on vectors of a model's size.

    apt-get install openmpi-bin python3-mpi4py python3-numpy
    mpiexec -n 4 --mca pml ob1 --mca btl tcp,self python3 mpi_allreduce.py --floats 700490 --rounds 30

Prints one JSON line from rank 0: milliseconds of each Allreduce and of each gather, mean at the root and broadcast, at the
rank that takes longest, and nanoseconds of CPU time of all ranks in an Allreduce for each byte that all of them must send,
2(n-1) times the vector. `--mca btl tcp,self` keeps Open MPI off shared memory, as between machines.
"""
import argparse, json, time
import numpy as np
from mpi4py import MPI

a = argparse.ArgumentParser()
a.add_argument("--floats", type=int, default=700490)
a.add_argument("--rounds", type=int, default=30)
o = a.parse_args()
comm = MPI.COMM_WORLD
n, rank = comm.Get_size(), comm.Get_rank()
mine, mean = np.full(o.floats, rank, np.float32), np.empty(o.floats, np.float32)
table = np.empty((n, o.floats), np.float32) if rank == 0 else None


def allreduce():
    comm.Allreduce(mine, mean, MPI.SUM)
    np.divide(mean, n, out=mean)


def star():
    comm.Gather(mine, table, root=0)
    if rank == 0:
        np.mean(table, axis=0, out=mean)
    comm.Bcast(mean, root=0)


def timed(f):
    times, busy = [], 0.0
    for _ in range(o.rounds + 3):
        comm.Barrier()
        t, c = time.perf_counter(), time.process_time()
        f()
        c = time.process_time() - c
        times.append(comm.allreduce(time.perf_counter() - t, MPI.MAX) * 1e3)
        if len(times) > 3:
            busy += c
        assert abs(float(mean[0]) - (n - 1) / 2) < 1e-3
    return times[3:], comm.allreduce(busy, MPI.SUM) / o.rounds


(r, busy), (s, _) = timed(allreduce), timed(star)
if rank == 0:
    print(json.dumps({"peer": MPI.Get_library_version().split(",")[0].strip(), "ranks": n, "floats": o.floats, "allreduce_ms": r,
                      "star_ms": s, "cpu_ns_per_byte": busy * 1e9 / (2 * (n - 1) * 4 * o.floats)}))
