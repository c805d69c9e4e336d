"""Tables: a YAML file a table, the published numbers, and their validated form. No torch."""
