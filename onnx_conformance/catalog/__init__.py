"""What there is to choose from, as records: models, exporters, providers, variants."""
