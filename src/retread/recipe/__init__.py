"""What a maintainer writes: recipes, series, toolchains, proofs; and what is planned of it."""
