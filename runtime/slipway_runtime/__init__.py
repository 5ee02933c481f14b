"""The Slipway runtime: fetches one model, checks it, and serves it."""
