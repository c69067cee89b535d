//! The commands of `binlog-relay`, one function each.

use crate::mirror::{self, MirrorOptions, StatusHandle};
use crate::relay::{self, Beginning};
use crate::route::Routes;
use crate::settings::Settings;
use crate::source::checks;
use crate::status::Status;
use crate::verify::{self, MirrorPosition, VerifyOptions};
use crate::{http, mysql};
use anyhow::{Context, Result, bail};
use clap::Subcommand;
use indicatif::{ProgressBar, ProgressStyle};
use mq_base::env::{clock, task};
use mq_base::stop::{StopSource, Terminations};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;

/// What to do.
#[derive(Subcommand)]
pub enum Command {
    /// Stream changes into topics
    Run {
        /// Settings.
        #[command(flatten)]
        file: File,
        /// Wait until the active relay of this name has been silent for the lease
        #[arg(long)]
        standby: bool,
        /// Forget the position: go on from the source's present, and copy all tables again
        #[arg(long)]
        copy_again: bool,
    },
    /// Check the source, and print what is missing as SQL
    Init {
        /// Settings.
        #[command(flatten)]
        file: File,
    },
    /// Say how far a running relay is
    Status {
        /// Settings.
        #[command(flatten)]
        file: File,
        /// Go on saying it, with a bar while tables are copied
        #[arg(short, long)]
        follow: bool,
    },
    /// Rebuild the captured tables in other databases, exactly once
    Mirror {
        /// Settings.
        #[command(flatten)]
        file: File,
        /// The copy.
        #[command(flatten)]
        copy: Copy,
    },
    /// Compare a copy with the source, by checksums that both servers compute
    Verify {
        /// Settings.
        #[command(flatten)]
        file: File,
        /// The copy.
        #[command(flatten)]
        copy: Copy,
        /// Seconds to wait for the mirror, and for parts that change
        #[arg(long, default_value_t = 60)]
        within: u64,
    },
    /// Copy tables again while the relay runs
    Snapshot {
        /// Settings.
        #[command(flatten)]
        file: File,
        /// Tables as database.table
        #[arg(required_unless_present = "all")]
        tables: Vec<String>,
        /// All captured tables
        #[arg(long)]
        all: bool,
    },
}

/// The settings' file.
#[derive(clap::Args)]
pub struct File {
    /// Settings
    #[arg(short, long, default_value = "relay.toml")]
    config: PathBuf,
}

/// Where the copy is.
#[derive(clap::Args)]
pub struct Copy {
    /// Server of the copy, mysql://user:password@host:port
    #[arg(long, env = "BINLOG_RELAY_TARGET", hide_env_values = true)]
    target: String,
    /// Database of the copy where the mirror keeps its position
    #[arg(long, default_value = "forebay_mirror")]
    schema: String,
    /// source=copy: which database becomes which; once for each
    #[arg(long = "map", required = true, value_parser = pair)]
    databases: Vec<(String, String)>,
}

impl File {
    fn read(&self) -> Result<Settings> {
        Settings::read(&self.config)
    }
}

/// Carries a command out.
///
/// # Errors
/// Says what is wrong and what to do.
pub async fn command(command: Command) -> Result<ExitCode> {
    match command {
        Command::Run {
            file,
            standby,
            copy_again,
        } => run(file.read()?, Beginning { standby, copy_again }).await,
        Command::Init { file } => init(&file.read()?).await,
        Command::Status { file, follow: true } => follow(&file.read()?).await,
        Command::Status { file, follow: false } => {
            let answer = ask(&file.read()?, "/status", None)?;
            println!("{answer}");
            Ok(ExitCode::SUCCESS)
        }
        Command::Mirror { file, copy } => {
            let settings = file.read()?;
            let options = MirrorOptions {
                name: mirror_name(&settings),
                relay: settings.name,
                name_servers: settings.queue.namesrv,
                target: copy.target,
                schema: copy.schema,
                databases: copy.databases.into_iter().collect(),
                status: StatusHandle::default(),
            };
            let mut terminations = Terminations::listen().context("take signals over")?;
            let (source, stop) = StopSource::new();
            let mirror = mirror::run(options, stop);
            tokio::pin!(mirror);
            let outcome = tokio::select! {
                outcome = &mut mirror => outcome,
                () = terminations.next() => {
                    source.stop();
                    mirror.await
                }
            };
            outcome.map(|()| ExitCode::SUCCESS)
        }
        Command::Verify { file, copy, within } => {
            let settings = file.read()?;
            let mut options =
                VerifyOptions::new(&settings.source.url, &copy.target, copy.databases.into_iter().collect());
            options.time_limit = Duration::from_secs(within);
            options.mirror = Some(MirrorPosition {
                schema: copy.schema,
                name: mirror_name(&settings),
            });
            let report = verify::run(&options).await?;
            println!("{report}");
            Ok(if report.is_equal() {
                ExitCode::SUCCESS
            } else {
                ExitCode::FAILURE
            })
        }
        Command::Snapshot { file, tables, all } => {
            let wanted = if all { vec!["--all".to_owned()] } else { tables };
            let answer = ask(&file.read()?, "/snapshot", Some(serde_json::to_string(&wanted)?))?;
            println!("{answer}");
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// Under this name a mirror keeps its position.
fn mirror_name(settings: &Settings) -> String {
    format!("{}-mirror", settings.name)
}

/// `source=copy`
fn pair(text: &str) -> Result<(String, String), String> {
    let (source, copy) = text
        .split_once('=')
        .ok_or("source=copy is wanted, such as shop=shop_copy")?;
    Ok((source.to_owned(), copy.to_owned()))
}

async fn run(settings: Settings, beginning: Beginning) -> Result<ExitCode> {
    let mut terminations = Terminations::listen().context("take signals over")?;
    let (source, stop) = StopSource::new();
    let status = Arc::new(Status::default());
    let (wish, wishes) = mpsc::channel(4);
    let serving = (!settings.http.is_empty()).then(|| {
        let (address, status, stop) = (settings.http.clone(), status.clone(), stop.clone());
        task::spawn("http", async move { http::serve(&address, status, wish, stop).await })
    });
    let relay = relay::run(settings, beginning, status, wishes, stop);
    tokio::pin!(relay);
    let outcome = tokio::select! {
        outcome = &mut relay => outcome,
        () = terminations.next() => {
            source.stop();
            relay.await
        }
    };
    source.stop();
    if let Some(serving) = serving
        && let Ok(Err(error)) = serving.join().await
    {
        tracing::error!("{error:#}");
    }
    outcome.map(|()| ExitCode::SUCCESS)
}

async fn init(settings: &Settings) -> Result<ExitCode> {
    let routes = Routes::new(&settings.tables)?;
    let mut conn = mysql::connect(&settings.source.url).await?;
    let report = checks::check(&mut conn, &routes).await?;
    println!("MySQL {}", report.version);
    for found in &report.tables {
        let route = routes.find(&found.database, &found.table);
        let topic = route.map_or_else(String::new, |route| {
            format!("{} ({} queues)", route.topic, route.queues)
        });
        let key = if found.has_key {
            ""
        } else {
            "   no primary key: all its rows go to queue 0"
        };
        println!("  {}.{} -> {topic}{key}", found.database, found.table);
    }
    if report.tables.is_empty() {
        println!("  no table matches the rules");
    }
    for warning in &report.warnings {
        println!("note: {warning}");
    }
    if report.problems.is_empty() {
        println!("ready: binlog-relay run");
        return Ok(ExitCode::SUCCESS);
    }
    println!("not ready; this would mend it:");
    for problem in &report.problems {
        println!("  -- {}\n  {}", problem.what, problem.remedy);
    }
    Ok(ExitCode::FAILURE)
}

/// A line that is written anew twice a second, until interrupted.
async fn follow(settings: &Settings) -> Result<ExitCode> {
    let bar = ProgressBar::new(0);
    let copying = ProgressStyle::with_template("{bar:30} {pos}/{len} rows copied ({percent} %), {msg}")?;
    let streaming = ProgressStyle::with_template("{msg}")?;
    loop {
        let said: serde_json::Value = serde_json::from_str(&ask(settings, "/status", None)?)?;
        let number = |name: &str| said[name].as_u64().unwrap_or(0);
        // The server's estimate may be short.
        bar.set_length(number("estimated").max(number("copied")));
        bar.set_position(number("copied"));
        bar.set_style(if number("copying") > 0 {
            copying.clone()
        } else {
            streaming.clone()
        });
        bar.set_message(format!(
            "{}, {} rows written, {} ms and {} transactions behind",
            said["state"].as_str().unwrap_or_default(),
            number("rows"),
            number("lag_ms"),
            number("lag_transactions")
        ));
        bar.tick();
        clock::sleep(Duration::from_millis(500)).await;
    }
}

/// Asks the running relay.
fn ask(settings: &Settings, path: &str, body: Option<String>) -> Result<String> {
    if settings.http.is_empty() {
        bail!("the settings have no http = \"host:port\": the running relay cannot be asked");
    }
    let url = format!("http://{}{path}", settings.http);
    let agent: ureq::Agent = ureq::Agent::config_builder().http_status_as_error(false).build().into();
    let answer = match body {
        None => agent.get(&url).call(),
        Some(body) => agent.post(&url).content_type("application/json").send(body),
    };
    let mut answer = answer.with_context(|| format!("ask the relay at {}: does it run?", settings.http))?;
    let text = answer.body_mut().read_to_string()?;
    if !answer.status().is_success() {
        bail!("the relay answers {}: {text}", answer.status());
    }
    Ok(text)
}
