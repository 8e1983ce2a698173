"""Spark jobs, one folder each: reader / transform / writer / job.

`job.py` is what spark-submit runs (argparse, `--help`). A reader returns a DataFrame, a transform is
DataFrame -> DataFrame, a writer owns the side effects. What an event or a session means stands in
`include.contract`, not here. pyspark is imported inside functions only where a DAG may import the module.
"""
