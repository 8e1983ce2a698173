"""What several parts share: names, settings, and access to PostgreSQL and Hive.

Lives here: one registry of names (`names`), settings read from the environment (`settings`), the
PostgreSQL schema (`migrations/`, applied by `migrate`). Does not live here: anything that knows what
an event or a feature means (`include.contract`), or that knows Airflow (`include.orchestration`).
"""
