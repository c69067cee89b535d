//! Runs a program and judges what it prints.

use anyhow::{Context, Result, bail, ensure};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

/// A program on its way through scenarios. Killed when dropped.
pub struct Run {
    child: Child,
    input: Option<ChildStdin>,
    lines: Receiver<String>,
    /// Everything printed, clients' own chatter left out.
    pub printed: Vec<String>,
}

impl Run {
    /// Starts it.
    pub fn start(mut command: Command, namesrv_addr: &str, scenarios: &[&str]) -> Result<Run> {
        command
            .env("NAMESRV_ADDR", namesrv_addr)
            .env("INTEROP_EXACT", "1")
            .args(scenarios);
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        let mut child = command.spawn().with_context(|| format!("run {command:?}"))?;
        let output = child.stdout.take().context("read its output")?;
        let input = child.stdin.take();
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(output).split(b'\n').map_while(Result::ok) {
                if sender.send(String::from_utf8_lossy(&line).into_owned()).is_err() {
                    return;
                }
            }
        });
        Ok(Run {
            child,
            input,
            lines,
            printed: Vec::new(),
        })
    }

    /// Waits for a line that begins like this.
    pub fn await_line(&mut self, beginning: &str, within: Duration) -> Result<String> {
        let end = Instant::now() + within;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let line = match self.lines.recv_timeout(left) {
                Ok(line) => line,
                Err(RecvTimeoutError::Timeout) => {
                    bail!("no '{beginning}' within {within:?}:\n{}", self.printed.join("\n"))
                }
                Err(RecvTimeoutError::Disconnected) => {
                    bail!("ended without '{beginning}':\n{}", self.printed.join("\n"))
                }
            };
            if ["PASS ", "FAIL ", "STATS ", "NOTE ", "READY", "DONE "]
                .iter()
                .any(|word| line.starts_with(word))
            {
                println!("  {line}");
                self.printed.push(line.clone());
            }
            if line.starts_with(beginning) {
                return Ok(line);
            }
        }
    }

    /// Says a word to it: `across-kill` listens to "mark" (one fault is over) and "stop".
    pub fn say(&mut self, word: &str) -> Result<()> {
        let input = self.input.as_mut().context("talk to the program")?;
        input
            .write_all(format!("{word}\n").as_bytes())
            .and_then(|()| input.flush())
            .context("talk to the program")
    }

    /// Waits for the end; every one of these scenarios must have passed.
    pub fn must_pass(&mut self, scenarios: &[&str], within: Duration) -> Result<()> {
        self.await_line("DONE ", within)?;
        let failed: Vec<&String> = self.printed.iter().filter(|line| line.starts_with("FAIL ")).collect();
        ensure!(
            failed.is_empty(),
            "{} of {} failed:\n{failed:#?}",
            failed.len(),
            scenarios.len()
        );
        for name in scenarios {
            let passed = self
                .printed
                .iter()
                .any(|line| line.starts_with(&format!("PASS {name} ")));
            ensure!(passed, "{name} did not say that it passed");
        }
        Ok(())
    }

    /// Numbers of the `STATS` line of a scenario.
    pub fn statistics(&self, scenario: &str) -> Result<BTreeMap<String, u64>> {
        let beginning = format!("STATS {scenario} ");
        let line = self
            .printed
            .iter()
            .find(|line| line.starts_with(&beginning))
            .context("find the statistics")?;
        let numbers = line.split(' ').filter_map(|word| {
            let (name, value) = word.split_once('=')?;
            Some((name.to_owned(), value.parse().ok()?))
        });
        Ok(numbers.collect())
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
