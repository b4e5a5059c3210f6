"""The shared store: what one machine made, taken by another when somebody who is trusted signed it."""
