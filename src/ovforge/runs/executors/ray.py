"""Shards on a Ray cluster: one that is there, or one started on the spot.

Ray places the work, notices workers and nodes that die, and restarts actors; ovforge hands out shards and keeps
the ledger. Without GPUs every shard is a Ray task, which Ray retries by itself. With GPUs every worker is
an actor, which keeps its model between shards; an actor whose node is lost gives its shard back to the others, so
that the work continues with what is left of the cluster.

The run's folder and the inputs must be on a file system that all nodes share, under the same paths, and ovforge
installed on all of them: results go through files, never through Ray's object store.
"""

from __future__ import annotations

import contextlib
import logging
import os
import pickle
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ovforge.errors import InputError, MissingExtraError, WorkError
from ovforge.runs.executors.base import ATTEMPTS, Finished, Outcome, ShardFailed
from ovforge.runs.executors.local import available_cores
from ovforge.runs.executors.ray_worker import RayShardWorker, ShardFailedError, do_in_task
from ovforge.runs.heartbeat import worker_statuses
from ovforge.runs.task import Shard
from ovforge.runs.worker import Attempt, FatalError, Job

_OBJECT_STORE_BYTES = 100 << 20  # only job descriptions and counts pass through it; Ray's minimum is 75 MiB
_MOST_SUBMITTED = 1000
"""Tasks given to Ray at once where `workers` sets no limit."""
_CLOSING_SECONDS = 30.0


@dataclass(frozen=True)
class RayExecutor:
    """Ray tasks, or actors with GPUs.

    Attributes:
        address: of the cluster (`auto`: the one this machine belongs to). None: one is started on this machine and
            ended with the run.
        workers: how many at most at once. None: for tasks, what the cluster's cores allow; for actors, one for each
            share of the cluster's GPUs.
        gpus_per_worker: 0: tasks on processor cores. Above: actors, each seeing its GPUs only, `cuda:0` its device.
        cpus_per_worker: cores that Ray sets aside for each.
        patience: seconds to wait for the cluster to have room for a worker, while none is at work.
    """

    address: str | None = None
    workers: int | None = None
    gpus_per_worker: float = 0.0
    cpus_per_worker: float = 1.0
    patience: float = 900.0

    def __post_init__(self) -> None:
        if self.workers is not None and self.workers < 1:
            raise InputError(f"--workers {self.workers}: at least one worker is needed")

    def execute(self, job: Job, shards: Sequence[Shard], report: Callable[[Outcome], None]) -> None:
        """Do `shards`; see `Executor.execute`."""
        with self._cluster() as ray:
            try:
                data = ray.put((pickle.dumps(job), os.getcwd()))  # noqa: PTH109
            except Exception as error:
                raise WorkError(f"the task cannot be sent to Ray: {error}") from error
            waiting = _Waiting(ray, self, job.folder)
            if self.gpus_per_worker > 0:
                self._with_actors(ray, data, shards, report, waiting)
            else:
                self._require_cores(ray)
                self._with_tasks(ray, data, shards, report, waiting)

    def _with_tasks(
        self, ray: Any, data: Any, shards: Sequence[Shard], report: Callable[[Outcome], None], room: _Waiting
    ) -> None:
        do = ray.remote(do_in_task).options(
            num_cpus=self.cpus_per_worker, max_retries=ATTEMPTS - 1, retry_exceptions=[ShardFailedError]
        )
        waiting = deque(shards)
        submitted: dict[Any, Shard] = {}
        try:
            while waiting or submitted:
                while waiting and len(submitted) < (self.workers or _MOST_SUBMITTED):
                    shard = waiting.popleft()
                    submitted[do.remote(data, shard, self.cpus_per_worker)] = shard
                reference = room.first(list(submitted))
                shard = submitted.pop(reference)
                report(_outcome(shard, _get(ray, reference), tries=ATTEMPTS))
        finally:
            for reference in submitted:
                with contextlib.suppress(Exception):
                    ray.cancel(reference, force=True)

    def _with_actors(
        self, ray: Any, data: Any, shards: Sequence[Shard], report: Callable[[Outcome], None], room: _Waiting
    ) -> None:
        # Calls wait while Ray restarts a lost actor; only the call that hands over a shard is not repeated there.
        options = {"num_cpus": self.cpus_per_worker, "num_gpus": self.gpus_per_worker}
        options |= {"max_restarts": -1, "max_task_retries": -1}
        count = min(len(shards), self.workers or self._shares_of_gpus(ray))
        kind = ray.remote(RayShardWorker).options(**options)
        actors = [kind.remote(data, self.cpus_per_worker) for _ in range(count)]
        waiting, left = deque(shards), len(shards)
        attempts: dict[int, list[Attempt]] = {}
        idle: list[Any] = []
        # What each actor is at: a shard, or None while it gets ready, which may last until the cluster has room for it.
        busy: dict[Any, tuple[Any, Shard | None]] = {actor.get_ready.remote(): (actor, None) for actor in actors}
        try:
            while left:
                while waiting and idle:
                    actor, shard = idle.pop(), waiting.popleft()
                    busy[actor.do.options(max_task_retries=0).remote(shard)] = (actor, shard)
                reference = room.first(list(busy))
                actor, at = busy.pop(reference)
                got = _get(ray, reference)
                if isinstance(got, _Lost):
                    busy[actor.get_ready.remote()] = (actor, None)
                else:
                    idle.append(actor)
                if at is None:
                    continue
                tried = attempts.setdefault(at.index, [])
                if isinstance(got, Attempt):
                    tried.append(got)
                    if len(tried) < ATTEMPTS:
                        waiting.append(at)
                        continue
                left -= 1
                report(_outcome(at, got, tries=len(tried), attempts=tried))
            with contextlib.suppress(ray.exceptions.RayError):
                ray.wait([actor.close.remote() for actor in idle], num_returns=len(idle), timeout=_CLOSING_SECONDS)
        finally:
            for actor in actors:
                with contextlib.suppress(Exception):
                    ray.kill(actor)

    def _shares_of_gpus(self, ray: Any) -> int:
        gpus = ray.cluster_resources().get("GPU", 0)
        if gpus < self.gpus_per_worker:
            raise InputError(
                f"the Ray cluster has {gpus:g} GPUs, a worker needs {self.gpus_per_worker:g}",
                hint=("--device=cpu does without", "--workers=N waits for nodes that will join"),
            )
        return int(gpus / self.gpus_per_worker)

    def _require_cores(self, ray: Any) -> None:
        cores = ray.cluster_resources().get("CPU", 0)
        if cores < self.cpus_per_worker and self.workers is None:
            raise InputError(
                f"the Ray cluster offers {cores:g} cores, a worker needs {self.cpus_per_worker:g}: "
                "a head started with --num-cpus 0 does no work itself",
                hint=("start workers that join it (`ray start --address=...`)", "--workers=N waits for them"),
            )

    @contextlib.contextmanager
    def _cluster(self) -> Iterator[Any]:
        """Ray, connected; what was connected or started here is ended again."""
        try:
            import ray
        except ImportError:
            raise MissingExtraError("ray", needed_for="--executor=ray") from None
        if ray.is_initialized():
            yield ray
            return
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is sent anywhere unless the user wants it
        options: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.WARNING}
        if self.address is None:
            cores = max(available_cores(), int((self.workers or 1) * self.cpus_per_worker))
            options |= {"num_cpus": cores, "include_dashboard": False, "object_store_memory": _OBJECT_STORE_BYTES}
        try:
            ray.init(address=self.address or "local", **options)
        except (ConnectionError, RuntimeError, ValueError) as error:
            raise InputError(
                f"no Ray cluster at '{self.address or 'local'}': {str(error).splitlines()[0]}",
                hint="`ray start --head` on one machine and `ray start --address=...` on the others start one; "
                "without --address=ADDRESS one is started on this machine",
            ) from error
        try:
            yield ray
        finally:
            ray.shutdown()


def start_problem(error: BaseException, address: str | None) -> InputError:
    """Why Ray could not be started or joined, with what helps against it."""
    text = " ".join(str(error).split())
    first = f"{text[:300]}..." if len(text) > 300 else text
    lower = text.lower()
    if "af_unix" in lower or "socket path" in lower or "socket_filename" in lower:
        return InputError(
            f"Ray's sockets would have too long a path under {tempfile.gettempdir()}",
            detail=first,
            hint="set RAY_TMPDIR to a short folder on a local disk, such as /tmp, and run the same command again",
        )
    if "token" in lower or "authenticat" in lower or "unauthorized" in lower:
        return InputError(
            f"the Ray cluster at '{address or 'local'}' asks for a token",
            detail=first,
            hint="give this machine the cluster's own: RAY_AUTH_MODE=token with RAY_AUTH_TOKEN or RAY_AUTH_TOKEN_PATH",
        )
    if "version mismatch" in lower:
        return InputError(
            f"the Ray cluster at '{address or 'local'}' runs another Ray or Python than this process",
            detail=first,
            hint="every node needs the same versions of both",
        )
    return InputError(
        f"no Ray cluster at '{address or 'local'}'",
        detail=first or type(error).__name__,
        hint="`ray start --head` on one machine and `ray start --address=...` on the others start one; "
        "without --address one is started on this machine",
    )


def cluster_has_gpu(address: str | None) -> bool:
    """Whether a Ray cluster that is there has a GPU.

    Raises:
        InputError: there is no such cluster.
        MissingExtraError: Ray is not installed.
    """
    with RayExecutor(address)._cluster() as ray:
        return bool(ray.cluster_resources().get("GPU", 0) >= 1)


_SAY_AFTER_SECONDS = 20.0
_log = logging.getLogger(__name__)


@dataclass
class _Waiting:
    """Waits for the first of some calls; says when the cluster has no room for a worker, and gives up in the end."""

    ray: Any
    executor: RayExecutor
    folder: Path
    since: float = field(default_factory=time.monotonic)
    said: bool = False

    def first(self, references: list[Any]) -> Any:
        """The first reference that is done.

        Raises:
            WorkError: no worker was at work for `patience` seconds.
        """
        while True:
            done, _ = self.ray.wait(references, num_returns=1, timeout=2.0)
            if done or any(seen.alive for seen in worker_statuses(self.folder)):
                self.since, self.said = time.monotonic(), False
            if done:
                return done[0]
            waited = time.monotonic() - self.since
            if waited > self.executor.patience:
                raise WorkError(
                    f"the Ray cluster had no room for a worker in {waited:.0f} seconds ({self._offer()})",
                    hint=(
                        "--device=cpu does without GPUs",
                        "start more nodes, or wait until others are done, then "
                        "run the same command again: what is done stays done",
                    ),
                )
            if waited > _SAY_AFTER_SECONDS and not self.said:
                self.said = True
                _log.warning(
                    "waiting for the Ray cluster to have room for a worker (%s); giving up after %.0f seconds",
                    self._offer(),
                    self.executor.patience,
                )

    def _offer(self) -> str:
        total, free = self.ray.cluster_resources(), self.ray.available_resources()
        parts = [f"{free.get(kind, 0):g} of {total.get(kind, 0):g} {kind}s are free" for kind in ("CPU", "GPU")]
        need = f"a worker needs {self.executor.cpus_per_worker:g} CPUs and {self.executor.gpus_per_worker:g} GPUs"
        return f"{', '.join(parts)}; {need}"


class _Lost(Attempt, frozen=True):
    """The worker is gone: killed, crashed, or its node lost."""


def _get(ray: Any, reference: Any) -> int | Attempt | None:
    """What a call came to; an Attempt if nothing.

    Raises:
        OvforgeError: what stops all shards.
    """
    try:
        result: int | Attempt | None = ray.get(reference)
    except ray.exceptions.RayTaskError as error:
        cause = error.cause
        if isinstance(cause, FatalError):
            raise cause.error from None
        if isinstance(cause, ShardFailedError):
            return cause.attempt
        return Attempt(f"{type(cause).__name__}: {cause}"[:500], str(error), "", "")
    except ray.exceptions.RayError as error:
        return _Lost(f"{type(error).__name__}: {' '.join(str(error).split())}"[:500], "", "", "")
    return result


def _outcome(shard: Shard, got: int | Attempt | None, *, tries: int, attempts: Sequence[Attempt] = ()) -> Outcome:
    if isinstance(got, Attempt):
        return ShardFailed(shard, tuple(attempts) or (got,), tries)
    return Finished(shard, got or 0)
