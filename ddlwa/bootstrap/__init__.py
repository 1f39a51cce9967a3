"""The folder that `ddlwa-run` puts on `PYTHONPATH`."""
