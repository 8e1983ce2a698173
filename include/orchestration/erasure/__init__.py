"""privacy__erase_user and privacy__prove_erasures: what forgets a reader, and the search that proves it.

An id travels in no XCom, log, template or message: tasks pass `erasure_id`, and read the id from `ops.erasures`, where it
is encrypted, when they need it.
"""
