"""Where data comes from: files, object stores, HTTP, databases, drives and conversation logs.

`spec` says what a source is, `sync` lists all sources and fingerprints what is new, `copies` opens a document.
"""
