//! Long requests and answers: compressed beside the journal, by the hash of their text. A row then holds `@` and the hash, which no
//! JSON text can be taken for.

use std::borrow::Cow;
use std::io::{Read, Write};

use flate2::Compression;
use flate2::read::ZlibDecoder;
use flate2::write::ZlibEncoder;

use crate::id;
use crate::store::{Db, StoreError, Tx, on, within};

/// Bytes above which a text is kept beside its row (design §5).
const LONG: usize = 64 * 1024;

/// What a row holds of a text.
pub(super) async fn put<'t>(tx: &mut Tx<'_>, task: &str, text: &'t str) -> Result<Cow<'t, str>, StoreError> {
    const SQL: &str = "insert into payload (task, sha256, bytes) values ($1, $2, $3) on conflict (task, sha256) do nothing";

    if text.len() <= LONG {
        return Ok(Cow::Borrowed(text));
    }
    let unwritable = |error: std::io::Error| StoreError::Commit(format!("a long text cannot be compressed: {error}"));
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(text.as_bytes()).map_err(unwritable)?;
    let (bytes, sha256) = (encoder.finish().map_err(unwritable)?, id::digest(text.as_bytes()));
    within!(tx, connection => sqlx::query(SQL).bind(task).bind(&sha256).bind(bytes).execute(&mut **connection).await.map(|_| ()))?;
    Ok(Cow::Owned(format!("@{sha256}")))
}

/// The text that a row stands for.
pub(in crate::store) async fn get(db: &Db, task: &str, held: String) -> Result<String, StoreError> {
    const SQL: &str = "select bytes from payload where task = $1 and sha256 = $2";

    let Some(sha256) = held.strip_prefix('@') else { return Ok(held) };
    let bytes: Vec<u8> = on!(db, pool => sqlx::query_scalar(SQL).bind(task).bind(sha256).fetch_one(pool).await)?;
    let mut text = String::new();
    let unreadable = |error| StoreError::Unreadable(format!("the long text {sha256} of task {task}: {error}"));
    ZlibDecoder::new(bytes.as_slice()).read_to_string(&mut text).map_err(unreadable)?;
    Ok(text)
}
