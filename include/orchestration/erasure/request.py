"""The trigger form of privacy__erase_user, and what becomes of it.

A run keeps its form, so the run that the form starts does nothing but file the request (the id encrypted, in
`ops.erasures`) and start another run that carries its number. That one deletes the first. Airflow's audit log masks
the form's `user_id` while it writes it, because [core] sensitive_var_conn_names has it.
"""

import logging
import re
from collections.abc import Mapping
from typing import Any, Final

import psycopg
from airflow.sdk import Param
from airflow.sdk.exceptions import AirflowFailException

from include.common.erasure.erasures import checked_key, find_erasure, open_erasure
from include.common.erasure.needles import Needles
from include.common.names import Dag, Pg
from include.common.postgres import connect
from include.orchestration.job_environment import erasure_secret, features_dsn

log = logging.getLogger(__name__)

FILE, START, AWAIT, NUMBER = "file_request", "start_erasure", "await_stream", "erasure_id"
_NO_CONTROLS: Final = (
    r"^[^\u0000-\u001f\u007f-\u009f]+$(?![\s\S])"  # $ alone stands before a last line break, too
)
_LEFT_OVER: Final = "Delete this run, which holds what you typed, and trigger anew"
PARAMS: Final = {
    "user_id": Param(
        None, type=["null", "string"], minLength=1, maxLength=128, pattern=_NO_CONTROLS, title="Reader",
        description="user_id, exactly as in the events. It is kept encrypted until nothing is left to be searched",
    ),
    "reason": Param(
        None, type=["null", "string"], minLength=3, maxLength=500, title="Reason",
        description="Why, such as the number of the request. It is kept for good: write no id and no name into it",
    ),
    NUMBER: Param(
        None, type=["null", "integer"], minimum=1, title="Number of an erasure",
        description="Leave it empty. By it a run goes on with a request that was filed",
    ),
}  # fmt: skip
"""The trigger form."""


def file_request(*, params: Mapping[str, Any], ti: Any) -> str:
    """File what the form asks for, or find the request that the run carries; returns the task that follows.

    Its number is pushed as XCom `erasure_id`. Raises AirflowFailException, which quotes nothing of the form.
    """
    key = checked_key(erasure_secret())
    with connect(features_dsn(), application_name=Dag.ERASE_USER) as connection:
        if params.get(NUMBER) is not None:
            if params.get("user_id") is not None:
                raise AirflowFailException(
                    f"a number of an erasure and a user_id: fill in one of them. {_LEFT_OVER}"
                )
            number = _find(connection, key, int(params[NUMBER]))
        else:
            user_id, reason = checked_form(params)
            number = reopen(connection, user_id=user_id, reason=reason, key=key)
            log.info("filed as erasure %d; the run that follows does it, and deletes this one", number)
    ti.xcom_push(key=NUMBER, value=number)
    return START if params.get(NUMBER) is None else AWAIT


def checked_form(params: Mapping[str, Any]) -> tuple[str, str]:
    """(user_id, reason). Raises AirflowFailException that says what is wrong, and quotes nothing."""
    user_id, reason = params.get("user_id"), (params.get("reason") or "").strip()
    if not user_id or not re.fullmatch(_NO_CONTROLS, user_id):
        raise AirflowFailException(f"no user_id, or one with control characters. {_LEFT_OVER}")
    if not reason:
        raise AirflowFailException(f"no reason. {_LEFT_OVER}")
    if user_id.casefold() in reason.casefold() or Needles(user_id).is_in_cell(reason):
        raise AirflowFailException(f"the reason holds the user_id, and would be kept for good. {_LEFT_OVER}")
    return user_id, reason


def reopen(connection: psycopg.Connection, *, user_id: str, reason: str, key: bytes) -> int:
    """The number of the reader's erasure, open again if there was one: every store does it anew.

    What the stores did before is kept, under `<store> until <time>`. In the caller's transaction.
    """
    erasure = open_erasure(connection, user_id=user_id, reason=reason, key=key)
    connection.execute(
        f"UPDATE {Pg.ERASURE_STEPS} SET store = store || ' until ' ||"  # noqa: S608  a constant
        " to_char(done_at AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS.US')"
        " WHERE erasure_id = %s AND store NOT LIKE '%% until %%'",
        (erasure.erasure_id,),
    )
    connection.execute(
        f"UPDATE {Pg.ERASURES} SET erased_at = NULL, kafka_clear_after = NULL, requested_at = clock_timestamp()"  # noqa: S608  a constant
        " WHERE erasure_id = %s",
        (erasure.erasure_id,),
    )
    return erasure.erasure_id


def _find(connection: psycopg.Connection, key: bytes, number: int) -> int:
    try:
        erasure = find_erasure(connection, key, number)
    except LookupError as error:
        raise AirflowFailException(f"{error}: trigger anew with user_id and reason") from None
    if erasure.user_id is None:
        raise AirflowFailException(
            f"erasure {number} is proven and its id forgotten: to repeat it, trigger anew with user_id and reason"
        )
    return erasure.erasure_id
