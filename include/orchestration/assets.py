"""Airflow assets: what a DAG announces when it has published, and what others are scheduled by."""

from airflow.sdk import Asset

from include.common.names import AssetName

RAW_EVENTS = Asset(AssetName.RAW_EVENTS)
"""Hive raw_events: a slice that passed the raw gate was published."""
REFERENCE = Asset(AssetName.REFERENCE)
"""Schema `reference` was loaded."""
FEATURE_MARTS = Asset(AssetName.FEATURE_MARTS)
"""Schema `marts` was published: every row passed its gate."""
BATCH_FEATURES = Asset(AssetName.BATCH_FEATURES)
"""Hive session_features and the daily marts were published and counted."""

ALL = (RAW_EVENTS, REFERENCE, FEATURE_MARTS, BATCH_FEATURES)
