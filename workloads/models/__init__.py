"""Published configurations in Hugging Face's own format: data, no logic."""
