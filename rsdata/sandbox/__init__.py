"""The embedded planet: a seeded Earth that stands in for every archive, with no account and no network."""
