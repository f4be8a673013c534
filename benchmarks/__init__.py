"""What a request and a streamed chunk cost, side by side with the products llmhost is compared to."""
