"""Runs any task, shard by shard, so that a kill loses little and a resume loses nothing. Knows no data set.

A `Plan` says what is to be done; `run_plan` has an executor do what is left of it with a `Task`; the `Ledger` says what
is done. `read_status` tells how far a run is.
"""

from ovforge.lazy import lazy_names

__getattr__, __all__ = lazy_names(
    __name__,
    {
        "Executor": "executors.base",
        "FatalError": "worker",
        "InProcessExecutor": "executors.in_process",
        "InputFile": "plan",
        "Ledger": "ledger",
        "LedgerEntry": "ledger",
        "LocalExecutor": "executors.local",
        "Plan": "plan",
        "RayExecutor": "executors.ray",
        "RunResult": "run",
        "RunStatus": "status",
        "Shard": "task",
        "ShardReport": "task",
        "ShardSelection": "run",
        "Slot": "task",
        "Task": "task",
        "Worker": "task",
        "available_cores": "executors.local",
        "differences": "plan",
        "file_sha256": "plan",
        "find_input": "plan",
        "freeze": "plan",
        "input_file": "plan",
        "input_names": "plan",
        "is_started": "run",
        "load_plan": "plan",
        "other_calls": "presence",
        "plan_if_any": "plan",
        "read_status": "status",
        "run_plan": "run",
        "visible_gpus": "executors.local",
        "worker_statuses": "heartbeat",
    },
)
