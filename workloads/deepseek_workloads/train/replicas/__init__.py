"""Copies of the newest durable checkpoint in the memory of the pods: a group that is started again in place
reads them instead of the store. What is true stays in the commit log.
"""
