"""The folder on the app's path whose sitecustomize stops a server at the end of each response."""
