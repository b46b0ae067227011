"""The contract between data and training: what a shard set is, how it is written, found, checked and ordered.

Nothing here imports torch, nor anything else of ours.
"""
