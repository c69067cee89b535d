//! Connections to MySQL servers, with the session that everything here relies on.

use anyhow::{Context, Result};
use mysql_async::{Conn, Opts, OptsBuilder};

/// Packets as large as the protocol has them: a changed row of 40 MB is an event of 80 MB.
const PACKET_BYTES_MAX: usize = 1 << 30;

/// Statements that make results independent of the server's settings: UTC, UTF-8, no surprises with zero dates or quotes, and generated invisible keys
/// are shown: the binlog has them too.
const SESSION: &[&str] = &["SET time_zone = '+00:00', sql_mode = 'NO_ENGINE_SUBSTITUTION', \
                            /*!80030 show_gipk_in_create_table_and_information_schema = ON, */ NAMES utf8mb4"];

/// Options from a URL such as `mysql://user:password@127.0.0.1:3306/database`.
///
/// # Errors
/// The URL is malformed. The text of the error does not repeat it, because it holds the password.
pub fn options(url: &str) -> Result<OptsBuilder> {
    let opts = Opts::from_url(url).context("read the MySQL URL (mysql://user:password@host:port/database)")?;
    Ok(OptsBuilder::from_opts(opts)
        .max_allowed_packet(Some(PACKET_BYTES_MAX))
        .prefer_socket(Some(false))
        .tcp_nodelay(true))
}

/// Connects and prepares the session.
///
/// # Errors
/// The server does not answer, or refuses the account.
pub async fn connect(url: &str) -> Result<Conn> {
    let options = options(url)?.setup(SESSION.iter().map(|s| (*s).to_owned()).collect::<Vec<_>>());
    let place = format!(
        "{}:{}",
        Opts::from(options.clone()).ip_or_hostname(),
        Opts::from(options.clone()).tcp_port()
    );
    Conn::new(options)
        .await
        .with_context(|| format!("connect to MySQL at {place}"))
}

/// What a failure to connect means for a reader of the source.
pub fn source_error(error: anyhow::Error) -> crate::source::SourceError {
    let text = format!("{error:#}");
    match error.downcast::<mysql_async::Error>() {
        Ok(error) => error.into(),
        Err(_) => crate::source::SourceError::Lost(text),
    }
}
