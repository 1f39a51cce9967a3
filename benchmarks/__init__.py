"""What ddlwa costs, measured beside what it is added to."""
