"""SQL records: the schema, the database and everything that is read from or appended to it.

This area owns every SQL table, the engines and their transactions. It never talks to the chain and
never decides whether a payment may be made.
"""
