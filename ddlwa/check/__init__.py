"""Run an app through simulated invocations; judge what its traces record."""
