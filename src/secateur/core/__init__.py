"""Types, protocols and the one `select`: no method lives here."""
