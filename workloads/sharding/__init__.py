"""A graph over several chips: from a whole graph and its splits to what each rank runs."""
