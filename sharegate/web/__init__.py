"""HTTP in, HTTP out, and no rules: what may be answered was decided before it gets here."""
