"""Loss terms and schedules as plain functions of tensors; they know no network, dataset or configuration."""
