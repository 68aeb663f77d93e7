"""From a request to rows: prepare, plan, execute, resume, and what is said meanwhile."""
