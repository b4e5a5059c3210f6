"""An environment held against what wheels need: what it has, what is wrong with it, which wheel fits."""
