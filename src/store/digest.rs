//! SHA-256 over rows in key order: equal at peers that hold the same rows.

use ring::digest::{Context, SHA256};
use rusqlite::Connection;
use rusqlite::types::ValueRef;

use super::StoreError;
use super::schema::{Table, quote};

fn add(context: &mut Context, value: ValueRef<'_>) {
    let mut tagged = |tag: u8, bytes: &[u8]| {
        context.update(&[tag]);
        context.update(&(bytes.len() as u64).to_be_bytes());
        context.update(bytes);
    };
    match value {
        ValueRef::Null => tagged(0, &[]),
        ValueRef::Integer(value) => tagged(1, &value.to_be_bytes()),
        ValueRef::Real(value) => tagged(2, &value.to_bits().to_be_bytes()),
        ValueRef::Text(value) => tagged(3, value),
        ValueRef::Blob(value) => tagged(4, value),
    }
}

fn finish(context: Context) -> [u8; 32] {
    let mut out = [0; 32];
    out.copy_from_slice(context.finish().as_ref());
    out
}

/// One table's visible rows.
pub(super) fn table(db: &Connection, table: &Table) -> Result<[u8; 32], StoreError> {
    let columns: Vec<String> = table.columns.iter().map(|c| quote(&c.name)).collect();
    let order: Vec<String> = table.key_names().iter().map(|name| quote(name)).collect();
    let sql = format!(
        "SELECT {} FROM {} ORDER BY {}",
        columns.join(", "),
        quote(&table.name),
        order.join(", ")
    );
    let mut context = Context::new(&SHA256);
    let mut statement = db.prepare(&sql)?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        for column in 0..columns.len() {
            add(&mut context, row.get_ref(column)?);
        }
    }
    Ok(finish(context))
}

/// All replicated tables' digests as one, by name.
pub(super) fn all(mut digests: Vec<(String, [u8; 32])>) -> [u8; 32] {
    digests.sort_unstable();
    let mut context = Context::new(&SHA256);
    for (name, digest) in digests {
        add(&mut context, ValueRef::Text(name.as_bytes()));
        context.update(&digest);
    }
    finish(context)
}
