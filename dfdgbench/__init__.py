"""dfdgbench: methods for generalising to unseen domains, trained, swept, selected and tabulated in one harness."""

__version__ = "0.1.0"
