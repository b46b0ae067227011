"""Whole experiments: data, train, evaluate, report; one file each.

A pipeline is a `Config` whose `stages(out)` says what is done, in order. A new experiment is one new file and one name in
`pipelines.all`.
"""
