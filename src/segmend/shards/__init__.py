"""The Parquet layout on disk: schema, codecs, atomic writer, indexed reader, card, checks."""
