"""Rowlift's library: everything the functions share on the road from an uploaded object to its results.

bucket -> ingest -> ledger -> dispatch -> process -> settle -> finalize -> results. Each module is one step of that road
or one thing it touches; `functions/*/main.py` only decode an event and call one operation here.
"""
