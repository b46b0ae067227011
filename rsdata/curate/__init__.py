"""Pure functions on tables and arrays: geo clusters, splits, the lists of fMoW."""
