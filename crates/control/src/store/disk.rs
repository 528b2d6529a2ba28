//! The database file: one row per object, one row for the version, one durable transaction per write.

use super::ledger::{Ledger, Noted, RowKey};
use super::{Key, StoreError};
use redb::{Database, DatabaseError, ReadableDatabase, ReadableTable, TableDefinition};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::fmt::Display;
use std::fs::{File, Permissions};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::sync::Arc;
use taut_model::kinds;
use taut_model::object::{Object, Places};
use taut_model::origin::Location;

/// `group/Kind/namespace/name` -> JSON of a `Record`. No part can hold a slash.
const OBJECTS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("objects");
/// Generation and place -> JSON of what was changed.
const CHANGES: TableDefinition<'_, RowKey, &[u8]> = TableDefinition::new("changes");
const NUMBERS: TableDefinition<'_, &str, u64> = TableDefinition::new("numbers");
const VERSION: &str = "version";
/// The layout of this file; a file with a higher one was written by a newer program.
const LAYOUT: &str = "layout";
const LAYOUT_WRITTEN: u64 = 1;

pub(super) struct Disk {
    database: Database,
}

pub(super) enum Row<'a> {
    Is(&'a Object),
    Gone,
}

#[derive(Serialize)]
struct Record<'a> {
    value: &'a Value,
    #[serde(skip_serializing_if = "Option::is_none")]
    places: Option<&'a Places>,
}

#[derive(Deserialize)]
struct StoredRecord {
    value: Value,
    places: Option<std::collections::BTreeMap<String, Location>>,
}

/// What a database holds.
pub(super) struct Loaded {
    pub version: u64,
    pub objects: Vec<Object>,
    pub ledger: Ledger,
}

impl Disk {
    pub fn open(path: &Path) -> Result<(Disk, Loaded), StoreError> {
        let unusable = |because: String| StoreError::Unusable { path: path.to_owned(), because };
        let file = private_file(path).map_err(|error| unusable(error.to_string()))?;
        let database = Database::builder().create_file(file).map_err(|error| match error {
            DatabaseError::DatabaseAlreadyOpen => StoreError::InUse { path: path.to_owned() },
            other => unusable(other.to_string()),
        })?;
        let disk = Disk { database };
        let loaded = disk.load().map_err(unusable)?;
        Ok((disk, loaded))
    }

    pub fn write(&mut self, version: u64, key: Key<'_>, row: Row<'_>, noted: Option<&Noted>) -> Result<(), StoreError> {
        self.try_write(version, &row_key(key), row, noted).map_err(|because| StoreError::Disk { because })
    }

    fn try_write(&mut self, version: u64, key: &str, row: Row<'_>, noted: Option<&Noted>) -> Result<(), String> {
        let transaction = self.database.begin_write().map_err(text)?;
        {
            let mut objects = transaction.open_table(OBJECTS).map_err(text)?;
            match row {
                Row::Is(object) => {
                    let record = serde_json::to_vec(&Record { value: &object.value, places: object.places.as_deref() }).map_err(text)?;
                    objects.insert(key, record.as_slice()).map_err(text)?;
                }
                Row::Gone => {
                    objects.remove(key).map_err(text)?;
                }
            }
            let mut numbers = transaction.open_table(NUMBERS).map_err(text)?;
            numbers.insert(VERSION, version).map_err(text)?;
            if let Some(noted) = noted {
                let mut changes = transaction.open_table(CHANGES).map_err(text)?;
                changes.insert(noted.key, noted.row.as_slice()).map_err(text)?;
                for old in &noted.forgotten {
                    changes.remove(old).map_err(text)?;
                }
            }
        }
        transaction.commit().map_err(text)
    }

    fn load(&self) -> Result<Loaded, String> {
        self.prepare()?;
        let transaction = self.database.begin_read().map_err(text)?;
        let numbers = transaction.open_table(NUMBERS).map_err(text)?;
        let version = numbers.get(VERSION).map_err(text)?.map_or(1, |number| number.value());
        let rows = transaction.open_table(OBJECTS).map_err(text)?;
        let mut objects = Vec::new();
        for row in rows.iter().map_err(text)? {
            let (key, record) = row.map_err(text)?;
            let record = serde_json::from_slice(record.value()).map_err(|error| format!("its row {:?} is damaged: {error}", key.value()))?;
            objects.push(object(key.value(), record)?);
        }
        let changes = transaction.open_table(CHANGES).map_err(text)?;
        let mut noted = Vec::new();
        for row in changes.iter().map_err(text)? {
            let (key, row) = row.map_err(text)?;
            noted.push((key.value(), row.value().to_vec()));
        }
        Ok(Loaded { version, objects, ledger: Ledger::loaded(noted.into_iter()) })
    }

    /// Creates the tables of a new file, and refuses a file of a newer layout.
    fn prepare(&self) -> Result<(), String> {
        let transaction = self.database.begin_write().map_err(text)?;
        {
            transaction.open_table(OBJECTS).map_err(text)?;
            transaction.open_table(CHANGES).map_err(text)?;
            let mut numbers = transaction.open_table(NUMBERS).map_err(text)?;
            let layout = numbers.get(LAYOUT).map_err(text)?.map_or(LAYOUT_WRITTEN, |number| number.value());
            if layout > LAYOUT_WRITTEN {
                return Err(format!("it was written by a newer version of this program (layout {layout}, this one knows {LAYOUT_WRITTEN})"));
            }
            numbers.insert(LAYOUT, LAYOUT_WRITTEN).map_err(text)?;
        }
        transaction.commit().map_err(text)
    }
}

/// Opens or creates the file for its owner alone: it holds the objects of kind Secret too. The mode of a file that is there and
/// cannot be changed is its owner's doing.
fn private_file(path: &Path) -> std::io::Result<File> {
    let file = File::options().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)?;
    if file.metadata()?.permissions().mode() & 0o077 != 0
        && let Err(error) = file.set_permissions(Permissions::from_mode(0o600))
    {
        tracing::warn!(path = %path.display(), %error, "other users can get at the store; make it mode 0600");
    }
    Ok(file)
}

/// A row whose kind this program does not know was written by a newer one; to drop it would lose what a user said.
fn object(key: &str, record: StoredRecord) -> Result<Object, String> {
    let stranger = || format!("it holds {key:?}, a kind that this version of the program does not know");
    let mut parts = key.splitn(4, '/');
    let mut part = || parts.next().unwrap_or_default();
    let (group, kind, namespace, name) = (part(), part(), part(), part());
    let kind = kinds::KINDS.iter().find(|known| known.group == group && known.kind == kind).ok_or_else(stranger)?;
    Ok(Object { kind, namespace: namespace.to_owned(), name: name.to_owned(), value: record.value, places: record.places.map(Arc::new) })
}

fn row_key((kind, namespace, name): Key<'_>) -> String {
    format!("{}/{}/{namespace}/{name}", kind.group, kind.kind)
}

fn text(error: impl Display) -> String {
    error.to_string()
}
