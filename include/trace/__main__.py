"""`python -m include.trace VALUE`: where does this served or trained value come from?

Exit status 0: traced, and equal to what its readings and events make it; 3: traced, and something differs; 1: it could
not be traced; 2: the command line is wrong. Personal ids are shown where VALUE has them, others with --show-ids.
Connections come from WEBTOON_KAFKA, WEBTOON_POSTGRES_DSN, WEBTOON_METASTORE_URI and WEBTOON_DATA_DIR (`make trace` takes
them from the running stack).
"""

import argparse
import json
import sys

from include.common.hive.metastore import MetastoreError
from include.common.kafka.offsets import KafkaUnreachableError
from include.common.names import Hive
from include.common.postgres import PostgresUnreachableError
from include.common.settings import Settings, SettingsError
from include.trace.address import TABLES, Address, AddressError, parse_address
from include.trace.build import DEFAULT_LIMIT, TraceError
from include.trace.events import KafkaRangeError
from include.trace.run import trace_with
from include.trace.show import as_text

DIFFERS = 3
ERRORS = (
    TraceError,
    SettingsError,
    PostgresUnreachableError,
    MetastoreError,
    KafkaUnreachableError,
    KafkaRangeError,
)


def parse_arguments(argv: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m include.trace", formatter_class=argparse.RawDescriptionHelpFormatter,
        description=__doc__, epilog="VALUE is one of\n  " + "\n  ".join(table.form for table in TABLES.values()),
    )  # fmt: skip
    parser.add_argument(
        "value", metavar="VALUE", type=_address, help="marts.user_features/u42/user_exit_rate"
    )
    parser.add_argument("--limit", type=_positive, default=DEFAULT_LIMIT, metavar="N",
                        help="most readings that are listed and followed to their events (%(default)s)")  # fmt: skip
    parser.add_argument("--json", action="store_true", help="everything, as JSON")
    parser.add_argument(
        "--show-ids", action="store_true", help="also the personal ids that VALUE does not have"
    )
    parser.add_argument("--database", default=Hive.DATABASE, help="Hive database (%(default)s)")
    return parser.parse_args(argv)


def _address(text: str) -> Address:
    try:
        return parse_address(text)
    except AddressError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{value} is not above 0")
    return value


def main(argv: list[str] | None = None) -> int:
    """Trace and print; see the module for the exit status."""
    arguments = parse_arguments(argv)
    try:
        chain = trace_with(
            Settings.from_env(),
            arguments.value,
            limit=arguments.limit,
            every_id=arguments.show_ids,
            database=arguments.database,
        )
    except ERRORS as error:
        print(f"trace: {error}", file=sys.stderr)
        return 1
    print(json.dumps(chain.as_json(), indent=2, ensure_ascii=False) if arguments.json else as_text(chain))
    return DIFFERS if chain.differs else 0


if __name__ == "__main__":
    sys.exit(main())
