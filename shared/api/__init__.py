"""The HTTP API: `routing` finds who answers and frames the answer, `handlers` answer; the others do a part of that."""
