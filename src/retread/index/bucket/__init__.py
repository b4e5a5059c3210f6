"""An index in an object storage."""
