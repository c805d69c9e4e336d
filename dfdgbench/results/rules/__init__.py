"""Selection rules, each registered where it is defined."""
