"""Any number of faults at random: `python -m tests.integration.faults.soak --help`, or `make soak`.

Much of a round is waiting (for a JVM, for a server to come back), so lanes play rounds beside each other, each in a process
of its own and with servers of its own.
"""

import argparse
import multiprocessing
import sys
import time
from contextlib import ExitStack
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess

from local_stack.errors import StackError
from local_stack.signals import end_in_good_order_on_sigterm
from tests.integration.faults.rounds import DIFFERENT, EQUAL, TIME_IS_UP, Tally, play

_VERDICT = {
    EQUAL: "every row equal",
    DIFFERENT: "a difference, or a lane that did not end by itself",
    TIME_IS_UP: "equal so far, but time is up",
}


def soak(wanted: int, seed: int, minutes: float, lanes: int) -> tuple[int, Tally]:
    """Share the faults among `lanes`; returns the exit status and what all of them did.

    The status is the worst of the lanes: EQUAL, TIME_IS_UP, or DIFFERENT, which is also that of a lane that has died.
    """
    spawn = multiprocessing.get_context("spawn")
    playing: list[tuple[SpawnProcess, Connection]] = []
    total, statuses = Tally(minutes), set()
    with ExitStack() as processes:
        for lane in range(lanes):
            receiver, sender = spawn.Pipe(duplex=False)
            share = wanted // lanes + (lane < wanted % lanes)
            process = spawn.Process(target=_play, args=(sender, share, seed, minutes, lane, lanes))
            process.start()
            sender.close()
            processes.callback(_end, process)
            playing.append((process, receiver))
        for process, receiver in playing:
            try:
                status, tally = receiver.recv()
            except EOFError:
                statuses.add(DIFFERENT)
            else:
                statuses.add(status)
                total.take_in(tally)
            process.join()
    worst = next(status for status in (DIFFERENT, TIME_IS_UP, EQUAL) if status in statuses)
    return worst, total


def _play(result: Connection, wanted: int, seed: int, minutes: float, lane: int, lanes: int) -> None:
    """A lane, in its process."""
    end_in_good_order_on_sigterm()
    try:
        result.send(play(wanted, seed, minutes, lane=lane, lanes=lanes))
    except StackError as error:
        sys.exit(f"soak, lane {lane}: {error}")


def _end(process: SpawnProcess) -> None:
    """End a lane that still plays, because this process was told to end; nothing where it has ended by itself."""
    process.terminate()
    process.join()


def main(argv: list[str] | None = None) -> int:
    """Exit status 0: all faults struck and every row is equal; 1: a difference; 2: time was up first."""
    parser = argparse.ArgumentParser(
        prog="soak", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kills", type=int, default=200, help="faults to strike (%(default)s)")
    parser.add_argument("--seed", type=int, default=int(time.time()), help="of the first round (the time)")
    parser.add_argument("--minutes", type=float, default=120, help="begin no fault after this (%(default)s)")
    parser.add_argument("--lanes", type=int, default=2, help="rounds beside each other (%(default)s)")
    wanted = parser.parse_args(argv)
    if not 1 <= wanted.lanes <= wanted.kills:
        parser.error(f"--lanes must be from 1 to {wanted.kills}, one fault each")
    print(
        f"soak: {wanted.kills} faults in {wanted.lanes} lanes, SOAK_SEED={wanted.seed}, "
        f"at most {wanted.minutes:.0f} minutes",
        flush=True,
    )
    end_in_good_order_on_sigterm()
    status, tally = soak(wanted.kills, wanted.seed, wanted.minutes, wanted.lanes)
    print(
        f"\n{tally.table()}\n\nsoak: {tally.faults} of {wanted.kills} faults, {_VERDICT[status]} (status {status})"
    )
    return status


if __name__ == "__main__":
    sys.exit(main())
