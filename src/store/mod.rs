//! SQLite: schema, capture, apply. The only place that names rusqlite.
