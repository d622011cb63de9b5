"""Images as they come: in files, archives or memory, decoded within limits."""
