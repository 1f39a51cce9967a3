"""`import ddlwa.auto` is `ddlwa.patch_all()`."""

from ddlwa.patch import patch_all

patch_all()
