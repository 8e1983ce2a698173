"""`python -m local_stack.demo`: run the main job on the running stack and print what came of it."""

import argparse
import sys
from pathlib import Path

from local_stack import airflow_native
from local_stack.airflow_api import AirflowApi
from local_stack.demo.clock import Clock
from local_stack.demo.runs import Runs
from local_stack.demo.steps import STEPS, Demo
from local_stack.demo.stores import Stores
from local_stack.demo.summary import Summary
from local_stack.errors import StackError
from local_stack.paths import DEFAULT_STATE_DIR
from local_stack.stack import open_stack


def main(arguments: list[str] | None = None) -> int:
    """Exit status 0 where the job did all it must, 1 with one line on stderr where it did not."""
    parser = argparse.ArgumentParser(prog="python -m local_stack.demo", description=__doc__)
    parser.add_argument(
        "--state-dir", type=Path, default=DEFAULT_STATE_DIR, help="of the running stack (.stack)"
    )
    context = open_stack(parser.parse_args(arguments).state_dir)
    clock = Clock(STEPS)
    api = AirflowApi(
        airflow_native.base_url(context), airflow_native.ADMIN, airflow_native.admin_password(context)
    )
    stores = Stores(context)
    try:
        demo = Demo(Runs(api, clock), stores, context.paths.root / "slack_messages.jsonl", clock)
        faults = Summary(context, api, stores, demo.run()).show()
    except StackError as error:
        print(
            f"demo: {error}\nLook at: make status, make logs. Run `make demo` again to go on.",
            file=sys.stderr,
        )
        return 1
    except KeyboardInterrupt:
        print("demo: interrupted; `make demo` goes on, `make down` stops the stack", file=sys.stderr)
        return 130
    for fault in faults:
        print(f"demo: {fault}", file=sys.stderr)
    if not faults:
        clock.say("done; the stack keeps running: `make down` stops it, `make clean` also deletes its state")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
