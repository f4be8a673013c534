"""What llmhost does with a request: routing, failover, limits, completions, rerank, the model list."""
