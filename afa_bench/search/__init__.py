"""autoMBW: the block weights of a merge, searched for by the score of a few images."""
