"""retread: a pinned upstream commit and an ordered patch series in, a wheel with its proof out."""
