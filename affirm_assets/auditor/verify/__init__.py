"""`affirm verify`: whether the books hold, by a reader of its own.

It reads the tables with PyIceberg and Arrow, and imports nothing that wrote them: no dataset, no step, no engine.
"""
