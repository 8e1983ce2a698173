"""Page "Stream progress" of Airflow's user interface: the history in ops.stream_progress, readable.

- `history`, `*.sql`: what is shown
- `html`: the page as text: pure functions
- `app`: the web application; `link`: the button on the stream's task that opens it

Does not live here: its registration with Airflow (`plugins/stream_progress.py`).
"""
