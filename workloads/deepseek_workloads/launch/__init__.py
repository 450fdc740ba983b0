"""Starts the same work in several ways: under Ray on a pod set (`ray_train`, `ray_prepare`), or in this
process and its children (`local`). It does not know what a step of training is.
"""
