"""Object storage: reads, writes, the commit log. s3:// through s3fs, gs:// and az:// through
obstore, file:// and pvc:// on a shared volume.

store = open_store(Storage(uri="s3://models/tiny", endpoint_url=...))
log = CommitLog(store)
"""
