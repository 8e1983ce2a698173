"""The history of the gates: what checks are compared with, and the page of it.

- `history`, `*.sql`: figures of earlier slices and cuts, for the checks against them
- `page`, `html`: page "Gate history" of Airflow's user interface; `links`: the buttons on the tasks of gates

Does not live here: the page's registration with Airflow (`plugins/gate_history.py`).
"""
