"""What moves: watches, cache, queue, workers, leader election. It decides nothing about models."""
