"""Erased readers: who they are, their ids as bytes to search for, and their rows taken out of the batch store.

Does not live here: what the stream removes (`include.spark_jobs.stream_sessionize`), and the order of steps
(`include.orchestration.erasure`).
"""
