//! A name server as a task: listen, answer, expire, stop.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use mq_base::env::net::TcpListener;
use mq_base::env::{clock, disk, task};
use mq_base::stop::Stop;
use mq_net::{Server, ServerOptions};

use crate::config::Config;
use crate::kv::Kv;
use crate::service::NameServer;

/// How often silent brokers are looked for.
const SCAN_EVERY: Duration = Duration::from_secs(5);

/// Serves on `listener` until `stop`.
///
/// # Errors
/// The file of configuration values, or the certificate, cannot be read.
pub async fn run(config: Config, listener: TcpListener, stop: Stop) -> io::Result<()> {
    let kv = Kv::open(disk::real(), &config.kv_config_path)?;
    let options = ServerOptions {
        tls: config.tls.clone(),
        ..ServerOptions::default()
    };
    let name_server = Arc::new(NameServer::new(config, kv));
    let server = Server::new(options, name_server.clone()).map_err(io::Error::other)?;
    let scan = task::spawn("expiry-scan", async move {
        loop {
            clock::sleep(SCAN_EVERY).await;
            name_server.expire();
        }
    });
    server.serve(listener, stop).await;
    scan.abort();
    Ok(())
}
