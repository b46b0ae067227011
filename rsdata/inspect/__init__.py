"""Commands on a finished shard set: facts, statistics, a page to look at, rewriting, union, back to files."""
