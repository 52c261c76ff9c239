"""One module a kind: observe, plan (pure), act; each returns one result."""
