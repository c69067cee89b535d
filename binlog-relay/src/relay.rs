//! The relay: brings the source, the translator, the snapshot's reader and the queue together.
//!
//! One loop owns the translator. It takes events while there are any, cuts a batch when a transaction has ended and the queue is ready for
//! one, or when enough has been gathered; another task appends the batches. What happened to the queue is known from the position that comes with the
//! producer; nothing else is kept.

use crate::message::{Limits, Row};
use crate::position::{Position, SnapshotState};
use crate::route::{Route, Routes};
use crate::settings::Settings;
use crate::shape::Shape;
use crate::sink::{self, Batch, SinkError, Topics};
use crate::snapshot::Window;
use crate::snapshot::columns::{Columns, SelectedRow};
use crate::snapshot::reader::{self, Delivery, Note, Outcome, What};
use crate::source::checks::{self, Report};
use crate::source::{EventStream, SourceError, watch};
use crate::status::Status;
use crate::translate::{self, Translator};
use crate::{lease, message, mysql};
use anyhow::{Context, Result, anyhow};
use binlog_relay_event::header::{self, EventHeader};
use binlog_relay_event::payload::TransactionPayload;
use mq_base::env::{clock, task};
use mq_base::stop::Stop;
use mq_client::{AtomicProducer, ClientConfig, ClientInstance};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};

/// Batches that may wait for the queue.
const BATCHES_WAITING: usize = 2;
/// An idle relay says so often that it lives; a stand-by counts on it.
const PULSE: Duration = Duration::from_millis(500);
/// Pauses between attempts to reach the source.
const BACK_OFF: [u64; 5] = [50, 100, 250, 500, 1000];
/// Events that are taken without looking at anything else.
const EVENTS_AT_ONCE: usize = 512;
/// Longest event that a server writes.
const EVENT_BYTES_MAX: usize = 1 << 30;
/// A table without a key is copied in one batch; a broker takes 16 MiB at once.
const WHOLE_BYTES_MAX: usize = 12 << 20;

/// What another task may ask of the running relay.
pub enum Wish {
    /// Copy these tables again: `database.table`, or all.
    Snapshot(Vec<String>, oneshot::Sender<Result<Vec<String>, String>>),
}

/// How a relay begins.
#[derive(Debug, Clone, Copy, Default)]
pub struct Beginning {
    /// Wait until nothing comes from the active relay any more.
    pub standby: bool,
    /// Forget the position, and copy all tables again from the source's present.
    pub copy_again: bool,
}

/// Runs until stopped, or until only a person can help.
///
/// As a stand-by it waits until nothing comes from the active relay any more. When another relay of the name takes over, it becomes a stand-by.
///
/// # Errors
/// Says what is wrong and what to do. Nothing was skipped.
pub async fn run(
    settings: Settings,
    mut beginning: Beginning,
    status: Arc<Status>,
    mut wishes: mpsc::Receiver<Wish>,
    stop: Stop,
) -> Result<()> {
    let instance = ClientInstance::start(ClientConfig::new(&settings.queue.namesrv)).context("start the client")?;
    loop {
        if beginning.standby {
            status.state("stand-by");
            if !lease::wait_until_over(&instance, &settings, &stop).await? {
                return Ok(());
            }
        }
        status.state("opening");
        let producer = sink::open(&instance, &settings.queue.group, &settings.name).await?;
        let mut relay = Relay::new(
            &settings,
            &instance,
            producer,
            beginning.copy_again,
            status.clone(),
            &stop,
        )
        .await?;
        match relay.run(&mut wishes, &stop).await {
            Ok(()) | Err(End::Stopped) => return Ok(()),
            Err(End::Fenced(why)) => {
                tracing::warn!("{why}; this one is a stand-by now");
                beginning = Beginning {
                    standby: true,
                    copy_again: false,
                };
            }
            Err(End::Failed(error)) => {
                status.state("stopped");
                return Err(error);
            }
        }
    }
}

enum End {
    /// As told.
    Stopped,
    Fenced(String),
    Failed(anyhow::Error),
}

impl From<anyhow::Error> for End {
    fn from(error: anyhow::Error) -> End {
        End::Failed(error)
    }
}

impl From<SinkError> for End {
    fn from(error: SinkError) -> End {
        match error {
            SinkError::Fenced(_) => End::Fenced(error.to_string()),
            SinkError::Refused(_) => End::Failed(anyhow!(error)),
        }
    }
}

struct Relay<'a> {
    settings: &'a Settings,
    routes: Arc<Routes>,
    topics: Topics,
    translator: Translator,
    batches: mpsc::Sender<Batch>,
    appending: task::TaskHandle<Result<(), SinkError>>,
    status: Arc<Status>,
    /// A delivery of the snapshot's reader that waits for the stream.
    waiting: Option<(Box<Delivery>, oneshot::Sender<Outcome>)>,
    pulse: clock::Timer,
    /// The table that was read last, so that one that cannot be read does not keep the others waiting.
    last_read: String,
    stop: Stop,
}

impl<'a> Relay<'a> {
    async fn new(
        settings: &'a Settings,
        instance: &ClientInstance,
        producer: AtomicProducer,
        copy_again: bool,
        status: Arc<Status>,
        stop: &Stop,
    ) -> Result<Relay<'a>> {
        let routes = Arc::new(Routes::new(&settings.tables)?);
        let mut topics = Topics::new(instance.clone(), &settings.queue.group);
        topics.ensure(&settings.progress_topic(), 1).await?;
        let kept = producer.last().and_then(|last| last.position.as_deref());
        let kept = kept.map(Position::decode).transpose()?;
        let report = ask_source(settings, &routes).await?;
        let position = start(kept, copy_again, &report, settings);
        patiently_look(settings, &translate::held(&position)).await?;
        status.appended(position.gtids.to_string(), 0);
        status
            .estimated
            .store(report.tables.iter().map(|found| found.rows).sum(), Relaxed);
        let (batches, receiver) = mpsc::channel(BATCHES_WAITING);
        let translator = Translator::new(
            translate::Options {
                routes: routes.clone(),
                limits: Limits {
                    message_bytes_max: settings.queue.message_bytes_max,
                    message_rows_max: settings.queue.message_rows_max,
                },
                progress_topic: settings.progress_topic().into(),
                epoch: producer.epoch(),
            },
            position,
            producer.next_sequence(),
        );
        Ok(Relay {
            settings,
            routes,
            topics,
            translator,
            batches,
            appending: task::spawn("append", sink::append(producer, receiver, status.clone())),
            status,
            waiting: None,
            pulse: clock::Timer::at(clock::now() + PULSE),
            last_read: String::new(),
            stop: stop.clone(),
        })
    }

    async fn run(&mut self, wishes: &mut mpsc::Receiver<Wish>, stop: &Stop) -> Result<(), End> {
        let (sender, mut notes) = mpsc::channel(1);
        let options = reader::Options {
            url: self.settings.source.url.clone(),
            chunk_rows: self.settings.snapshot.chunk_rows,
        };
        // Where we begin is in the queue before anything else is done: a relay that dies at once begins there again.
        match self.cut().await {
            Ok(()) | Err(Break::Source(_)) => {}
            Err(Break::End(end)) => return Err(end),
        }
        while self.status.batches.load(Relaxed) == 0 && !self.appending.is_finished() && !stop.is_stopped() {
            clock::sleep(Duration::from_millis(2)).await;
        }
        let reading = task::spawn("snapshot", reader::run(options, sender));
        let end = self.attempts(wishes, &mut notes, stop).await;
        reading.abort();
        // What waits is appended still; then the task ends, and tells if it could not.
        let (closed, _) = mpsc::channel(1);
        self.batches = closed;
        let appended = clock::timeout(
            Duration::from_secs(10),
            std::mem::replace(&mut self.appending, task::spawn("none", async { Ok(()) })).join(),
        )
        .await;
        match (end, appended) {
            (_, Ok(Ok(Err(error)))) => Err(error.into()),
            (end, _) => end,
        }
    }

    /// Connects, reads, and connects again.
    async fn attempts(
        &mut self,
        wishes: &mut mpsc::Receiver<Wish>,
        notes: &mut mpsc::Receiver<Note>,
        stop: &Stop,
    ) -> Result<(), End> {
        let mut failures = 0;
        loop {
            if stop.is_stopped() {
                return Ok(());
            }
            let begun = clock::now();
            let error = match self.read(wishes, notes, stop).await {
                Ok(()) => return Ok(()),
                Err(Break::Source(error)) => error,
                Err(Break::End(end)) => return Err(end),
            };
            match error {
                SourceError::Stop { .. } => return Err(End::Failed(anyhow!(error))),
                SourceError::Lost(why) => {
                    if begun.elapsed() > Duration::from_secs(5) {
                        failures = 0;
                    }
                    tracing::warn!("{why}; connecting again");
                    // A stand-by must not think that we are gone.
                    match self.cut().await {
                        Ok(()) | Err(Break::Source(_)) => {}
                        Err(Break::End(end)) => return Err(end),
                    }
                    self.status.state("connecting");
                    let pause = BACK_OFF[failures.min(BACK_OFF.len() - 1)];
                    failures += 1;
                    tokio::select! {
                        () = clock::sleep(Duration::from_millis(pause)) => {}
                        () = stop.wait() => return Ok(()),
                    }
                    // The server may be another one by now, or another than it was.
                    let held = self.translator.held();
                    match clock::timeout(Duration::from_secs(10), look_again(self.settings, &held)).await {
                        Ok(Err(SourceError::Lost(_))) | Err(_) => continue,
                        Ok(Err(stop)) => return Err(End::Failed(anyhow!(stop))),
                        Ok(Ok(())) => {}
                    }
                }
            }
        }
    }

    /// Reads until the connection breaks, or until stopped.
    async fn read(
        &mut self,
        wishes: &mut mpsc::Receiver<Wish>,
        notes: &mut mpsc::Receiver<Note>,
        stop: &Stop,
    ) -> Result<(), Break> {
        // What was gathered of a transaction is in the position; the stream goes on from there.
        if !self.translator.is_empty() || !self.translator.is_between() {
            self.cut().await?;
        }
        self.translator.restart();
        let source = &self.settings.source;
        let complete = self.translator.complete();
        let mut stream = EventStream::open(&source.url, source.server_id, &self.settings.name, complete).await?;
        self.status.connects.fetch_add(1, Relaxed);
        self.status.state("active");
        let watching = watch::run(source.url.clone(), self.status.clone());
        tokio::pin!(watching);
        loop {
            tokio::select! {
                biased;
                () = stop.wait() => {
                    self.cut().await?;
                    return Ok(());
                }
                () = ended(&self.batches) => return Err(Break::End(self.why_ended().await)),
                event = stream.next() => {
                    self.take(&event?, &mut stream).await?;
                    for _ in 0..EVENTS_AT_ONCE {
                        let Some(event) = stream.next_now()? else {
                            self.status.caught_up_ms.store(clock::wall_ms(), Relaxed);
                            break;
                        };
                        self.take(&event, &mut stream).await?;
                    }
                }
                stop = &mut watching => return Err(Break::Source(stop)),
                Some(note) = notes.recv() => self.note(note),
                Some(wish) = wishes.recv() => self.wish(wish),
                () = std::future::poll_fn(|cx| self.pulse.poll(cx)) => {
                    self.cut().await?;
                    self.pulse.reset(clock::now() + PULSE);
                }
            }
            self.deliver().await?;
        }
    }

    async fn take(&mut self, event: &crate::source::RawEvent, stream: &mut EventStream) -> Result<(), Break> {
        if event.kind() != header::TRANSACTION_PAYLOAD {
            self.translator
                .event(event.kind(), event.body(), &mut self.topics)
                .await?;
            return self.cut_if_due().await;
        }
        // The library would inflate it too, but says nothing when that fails.
        let damaged = |error: binlog_relay_event::Error| {
            SourceError::stop(
                format!("a compressed transaction is damaged although its checksum is right: {error}"),
                "Nothing was skipped. Look at the server's binlog with mysqlbinlog; binlog-relay run --copy-again goes on behind it",
            )
        };
        let payload = TransactionPayload::parse(event.body()).map_err(damaged)?;
        let mut events = payload.events(EVENT_BYTES_MAX).map_err(damaged)?;
        let mut count = 0;
        while let Some(inside) = events.next_event().map_err(damaged)? {
            let (header, body) = EventHeader::parse(inside).map_err(damaged)?;
            self.translator.event(header.kind, body, &mut self.topics).await?;
            self.cut_if_due().await?;
            count += 1;
        }
        stream.skip(count);
        Ok(())
    }

    /// Cuts when the queue is ready for a whole transaction, when enough is gathered, and when nothing was said for a while.
    async fn cut_if_due(&mut self) -> Result<(), Break> {
        let enough = self.translator.bytes() >= self.settings.queue.batch_bytes_max;
        let ready = self.translator.is_between() && self.batches.capacity() == BATCHES_WAITING;
        let late = clock::now() >= self.pulse.deadline();
        if enough || late || (ready && !self.translator.is_empty()) {
            self.cut().await?;
        }
        Ok(())
    }

    /// Sends what has been gathered to the queue, waiting for room.
    async fn cut(&mut self) -> Result<(), Break> {
        let batch = self.translator.cut()?;
        self.tell_copies();
        self.status.transactions.fetch_add(batch.transactions, Relaxed);
        self.pulse.reset(clock::now() + PULSE);
        let stop = self.stop.clone();
        let sent = tokio::select! {
            biased;
            sent = self.batches.send(batch) => sent,
            // No broker answers, and we are to end: what was gathered is read again another time.
            () = stop.wait() => return Err(Break::End(End::Stopped)),
        };
        match sent {
            Ok(()) => Ok(()),
            Err(_) => Err(Break::End(self.why_ended().await)),
        }
    }

    fn tell_copies(&mut self) {
        let mut rows = 0;
        let mut left = Vec::new();
        for (name, state) in self.translator.snapshots() {
            match state {
                SnapshotState::Done(copied) => rows += *copied,
                SnapshotState::Running { rows: copied, .. } => {
                    rows += *copied;
                    left.push((name.clone(), format!("{copied} rows")));
                }
                SnapshotState::Wanted | SnapshotState::Again => left.push((name.clone(), "waiting".to_owned())),
            }
        }
        self.status.copied.store(rows, Relaxed);
        self.status.copying.store(left.len() as u64, Relaxed);
        self.status.snapshot(left);
    }

    async fn why_ended(&mut self) -> End {
        let ended = std::mem::replace(&mut self.appending, task::spawn("none", async { Ok(()) }));
        match ended.join().await {
            Ok(Err(error)) => error.into(),
            Ok(Ok(())) | Err(_) => End::Failed(anyhow!(
                "the appending task ended by itself; please report this as a defect"
            )),
        }
    }

    fn note(&mut self, note: Note) {
        match note {
            Note::Next(reply) => {
                let mut wanted = self
                    .translator
                    .snapshots()
                    .iter()
                    .filter(|(_, state)| !matches!(state, SnapshotState::Done(_)));
                let next = wanted
                    .clone()
                    .find(|(name, _)| **name > self.last_read)
                    .or_else(|| wanted.next());
                let next = next.map(|(name, state)| (name.clone(), state.clone()));
                self.last_read = next.as_ref().map_or_else(String::new, |(name, _)| name.clone());
                // A receiver that is gone has no use for an answer.
                let _ = reply.send(next);
            }
            Note::Open(table, reply) => {
                self.translator.window = Some(Window::new(&table));
                let _ = reply.send(self.translator.seen().clone());
            }
            Note::Deliver(delivery, reply) => self.waiting = Some((delivery, reply)),
        }
    }

    fn wish(&mut self, wish: Wish) {
        let Wish::Snapshot(wanted, reply) = wish;
        let known: Vec<String> = self.translator.snapshots().keys().cloned().collect();
        let unknown = wanted.iter().find(|name| *name != "--all" && !known.contains(name));
        if let Some(unknown) = unknown {
            let _ = reply.send(Err(format!(
                "{unknown} is not captured; these are: {}",
                known.join(", ")
            )));
            return;
        }
        let chosen: Vec<String> = known
            .into_iter()
            .filter(|name| wanted.iter().any(|w| w == "--all" || w == name))
            .collect();
        for name in &chosen {
            let state = self
                .translator
                .snapshots()
                .entry(name.clone())
                .or_insert(SnapshotState::Again);
            // What was never copied is still to come anyway.
            if *state != SnapshotState::Wanted {
                *state = SnapshotState::Again;
            }
        }
        let _ = reply.send(Ok(chosen));
    }

    /// Writes what the snapshot's reader has read, once the stream has passed the place where it was read.
    async fn deliver(&mut self) -> Result<(), Break> {
        let passed = |(delivery, _): &(Box<Delivery>, _)| self.translator.complete().contains_all(&delivery.high);
        if !self.translator.is_between() || !self.waiting.as_ref().is_some_and(passed) {
            return Ok(());
        }
        let Some((delivery, reply)) = self.waiting.take() else {
            return Ok(());
        };
        let window = self.translator.window.take();
        let outcome = match window {
            Some(window) if !window.is_spoiled() => self.write(*delivery, &window).await?,
            _ => Outcome::Spoiled,
        };
        let _ = reply.send(outcome);
        Ok(())
    }

    /// A table without a key: definition, rows and end in one batch, if nothing changed in the window.
    #[allow(clippy::too_many_arguments)] // What `write` has found out already.
    async fn write_whole(
        &mut self,
        name: &str,
        place: (&Arc<str>, u32),
        names: (&str, &str),
        route: &Route,
        columns: &Columns,
        (sql, rows): (&str, &[Vec<mysql_async::Value>]),
        window: &Window,
    ) -> Result<Outcome, Break> {
        if window.is_touched() {
            return Ok(Outcome::Spoiled);
        }
        self.translator
            .snapshot_barrier(place, names, "CREATE", sql, &format!("{}/begin", names.1))?;
        let texts: Vec<_> = columns.all.iter().map(|column| column.text.clone()).collect();
        let shape = Arc::new(Shape::new(
            names.0,
            names.1,
            &texts,
            Vec::new(),
            &self.routes,
            route,
            place.1,
        )?);
        let mark: Arc<str> = format!("{}/1", names.1).into();
        for (number, row) in rows.iter().enumerate() {
            self.translator.snapshot_row(Row {
                shape: &shape,
                queue: 0,
                kind: message::Kind::Insert,
                image: &SelectedRow { columns, row },
                old: None,
                number: number as u64,
                link: None,
                snapshot: Some(&mark),
            })?;
        }
        if self.translator.bytes() > WHOLE_BYTES_MAX {
            return Err(Break::Source(SourceError::stop(
                format!(
                    "{name} has no primary key and {} bytes of rows, more than one batch takes",
                    self.translator.bytes()
                ),
                "Give it a primary key, or take it out of the rules",
            )));
        }
        self.translator
            .snapshot_barrier(place, names, "QUERY", "", &format!("{}/end", names.1))?;
        tracing::info!(table = name, rows = rows.len(), "copied");
        self.translator
            .snapshots()
            .insert(name.to_owned(), SnapshotState::Done(rows.len() as u64));
        self.cut().await?;
        Ok(Outcome::Written)
    }

    async fn write(&mut self, delivery: Delivery, window: &Window) -> Result<Outcome, Break> {
        let name = format!("{}.{}", delivery.name.0, delivery.name.1);
        let Some(state) = self.translator.snapshots().get(&name).cloned() else {
            return Ok(Outcome::Spoiled);
        };
        let Some(route) = self.routes.find(&delivery.name.0, &delivery.name.1) else {
            return Ok(Outcome::Spoiled);
        };
        let queues = self.topics.ensure(&route.topic, route.queues).await?;
        let topic: Arc<str> = route.topic.as_str().into();
        let names = (delivery.name.0.as_str(), delivery.name.1.as_str());
        let (rows, last) = match delivery.what {
            // A DROP would have taken the state away before the stream came to this place.
            What::Gone => {
                return Err(Break::Source(SourceError::stop(
                    format!("{name} cannot be read any more, and was not dropped"),
                    "Grant SELECT on it again, or take it out of the rules; then start the relay again",
                )));
            }
            What::Whole(sql, rows) => {
                return self
                    .write_whole(
                        &name,
                        (&topic, queues),
                        names,
                        &route,
                        &delivery.columns,
                        (&sql, &rows),
                        window,
                    )
                    .await;
            }
            What::Begin(sql) => {
                let mark = format!("{}/begin", names.1);
                self.translator
                    .snapshot_barrier((&topic, queues), names, "CREATE", &sql, &mark)?;
                let begun = SnapshotState::Running {
                    chunk: 0,
                    rows: 0,
                    after: None,
                };
                self.translator.snapshots().insert(name, begun);
                self.cut().await?;
                return Ok(Outcome::Written);
            }
            What::Rows(rows, last) => (rows, last),
        };
        let SnapshotState::Running {
            chunk,
            rows: mut written,
            mut after,
        } = state
        else {
            return Ok(Outcome::Spoiled);
        };
        let columns = &delivery.columns;
        let texts: Vec<_> = columns.all.iter().map(|column| column.text.clone()).collect();
        let shape = Shape::new(
            names.0,
            names.1,
            &texts,
            columns.key.clone(),
            &self.routes,
            &route,
            queues,
        )?;
        let shape = Arc::new(shape);
        let mark: Arc<str> = format!("{}/{}", names.1, chunk + 1).into();
        let (mut key, mut text) = (Vec::new(), Vec::new());
        self.translator.outside();
        for row in &rows {
            let values = SelectedRow { columns, row };
            shape.write_key(&values, &mut key, &mut text)?;
            if !window.is_struck(&key) {
                self.translator.snapshot_row(Row {
                    shape: &shape,
                    queue: shape.queue(&key),
                    kind: message::Kind::Insert,
                    image: &values,
                    old: None,
                    number: written,
                    link: None,
                    snapshot: Some(&mark),
                })?;
                written += 1;
            }
            if self.translator.bytes() >= self.settings.queue.batch_bytes_max {
                let place = SnapshotState::Running {
                    chunk,
                    rows: written,
                    after: Some(columns.key_texts(row)?),
                };
                self.translator.snapshots().insert(name.clone(), place);
                self.cut().await?;
                self.translator.outside();
            }
        }
        if let Some(row) = rows.last() {
            after = Some(columns.key_texts(row)?);
        }
        let state = match last {
            false => SnapshotState::Running {
                chunk: chunk + 1,
                rows: written,
                after,
            },
            true => {
                let mark = format!("{}/end", names.1);
                self.translator
                    .snapshot_barrier((&topic, queues), names, "QUERY", "", &mark)?;
                tracing::info!(table = name, rows = written, "copied");
                SnapshotState::Done(written)
            }
        };
        self.translator.snapshots().insert(name, state);
        self.cut().await?;
        Ok(Outcome::Written)
    }
}

/// Looks until the source answers, for a minute.
async fn patiently_look(settings: &Settings, ours: &crate::gtid::GtidSet) -> Result<()> {
    let deadline = clock::now() + Duration::from_secs(60);
    loop {
        match look_again(settings, ours).await {
            Err(SourceError::Lost(why)) if clock::now() < deadline => {
                tracing::warn!("{why}; trying again");
                clock::sleep(Duration::from_millis(500)).await;
            }
            outcome => return Ok(outcome?),
        }
    }
}

/// Why reading stopped.
enum Break {
    Source(SourceError),
    End(End),
}

impl From<SourceError> for Break {
    fn from(error: SourceError) -> Break {
        Break::Source(error)
    }
}

impl From<anyhow::Error> for Break {
    fn from(error: anyhow::Error) -> Break {
        Break::End(End::Failed(error))
    }
}

async fn ended(batches: &mpsc::Sender<Batch>) {
    batches.closed().await;
}

/// Checks the source, waiting until it can be asked.
async fn ask_source(settings: &Settings, routes: &Routes) -> Result<Report> {
    let deadline = clock::now() + Duration::from_secs(60);
    let report = loop {
        let asked = async {
            let mut conn = mysql::connect(&settings.source.url).await?;
            checks::check(&mut conn, routes).await
        };
        match asked.await {
            Ok(report) => break report,
            Err(error) => {
                let lost = matches!(
                    error.downcast_ref::<mysql_async::Error>(),
                    Some(mysql_async::Error::Io(_))
                );
                if !lost || clock::now() >= deadline {
                    return Err(error);
                }
                tracing::warn!("{error:#}; trying again");
                clock::sleep(Duration::from_millis(500)).await;
            }
        }
    };
    for warning in &report.warnings {
        tracing::warn!("{warning}");
    }
    if !report.problems.is_empty() {
        let lines: Vec<String> = report
            .problems
            .iter()
            .map(|p| format!("  {}\n    {}", p.what, p.remedy))
            .collect();
        return Err(anyhow!(
            "the source is not ready; this would mend it:\n{}",
            lines.join("\n")
        ));
    }
    Ok(report)
}

/// Where to begin: where the queue says, or at the source's present.
fn start(kept: Option<Position>, copy_again: bool, report: &Report, settings: &Settings) -> Position {
    let mut position = match kept {
        Some(mut position) if copy_again => {
            // Message and barrier numbers go on: readers count on them.
            position.gtids = report.executed.clone();
            position.partial = None;
            position.snapshots.clear();
            position
        }
        Some(position) => position,
        None => Position::start(report.executed.clone()),
    };
    for found in &report.tables {
        let name = format!("{}.{}", found.database, found.table);
        let state = match settings.snapshot.initial || copy_again {
            true => SnapshotState::Wanted,
            false => SnapshotState::Done(0),
        };
        position.snapshots.entry(name).or_insert(state);
    }
    position
}

async fn look_again(settings: &Settings, ours: &crate::gtid::GtidSet) -> Result<(), SourceError> {
    let mut conn = mysql::connect(&settings.source.url)
        .await
        .map_err(mysql::source_error)?;
    checks::reachable(&mut conn, ours).await
}
