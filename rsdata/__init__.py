"""From a public archive to curated shards; no torch."""
