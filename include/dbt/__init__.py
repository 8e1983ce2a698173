"""The dbt project `webtoon`, and the two commands around it (`command`: any dbt command against a store)."""
