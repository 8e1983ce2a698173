"""OpenLineage events: those of our Spark jobs, and the files in which all are kept."""
