"""Engines: who runs the shards. The work of a shard is the same function in all of them."""
