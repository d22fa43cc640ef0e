"""How stages run: shards, manifests, locks, workers."""
