"""The HTTP API: `routing` finds who answers and frames the answer, `handlers` answer, `requests` read what was sent."""
