"""Erased readers: who they are, their ids as bytes to search for, and their rows taken out of the batch store.

- `erasures`: who is erased, by a keyed hash
- `records`: what is kept of an erased reader's records
- `archive`, `letters`, `staged_slices`: raw events and quarantine, dead letters, slices that are not placed yet
- `publications`: the tables that features__publish_batch writes
- `needles`, `checkpoint_search`: an id as bytes to search for; the search in a checkpoint of the stream

Does not live here: what the stream removes (`include.spark_jobs.stream_sessionize`), and the order of steps
(`include.orchestration.erasure`).
"""
