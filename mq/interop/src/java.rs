//! The program around RocketMQ's Java client, in the versions that are tested.

use crate::{cache, cache_lock, finish, here, need};
use anyhow::{Context, Result};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Sources that need a client of 4.6 or newer.
const NOT_IN_4_5: &[&str] = &["LitePulls.java"];

/// The compiled program and the jars it runs with.
pub struct JavaClient {
    classpath: String,
}

impl JavaClient {
    /// Fetches client `version` from Maven Central (once) and compiles the program against it.
    pub fn prepare(version: &str) -> Result<JavaClient> {
        for tool in ["java", "javac", "mvn"] {
            need(tool)?;
        }
        let _lock = cache_lock()?;
        let folder = cache(&format!("java-{version}"))?;
        let jars = fetch(&folder, version)?;
        let classes = compile(&folder, &jars, version)?;
        Ok(JavaClient {
            classpath: format!("{}:{}/*", classes.display(), jars.display()),
        })
    }

    /// The command that runs the program; the caller adds scenarios. Client logs go to `home`.
    pub fn command(&self, home: &Path) -> Command {
        let mut command = Command::new("java");
        // 4.5.1 brings a netty that looks into java.nio.
        command.args(["-Xmx256m", "--add-opens", "java.base/java.nio=ALL-UNNAMED"]);
        command.arg(format!("-Duser.home={}", home.display()));
        command.args(["-cp", &self.classpath, "Interop"]);
        command
    }
}

fn fetch(folder: &Path, version: &str) -> Result<PathBuf> {
    let jars = folder.join("lib");
    let complete = folder.join("complete");
    if complete.exists() {
        return Ok(jars);
    }
    std::fs::write(folder.join("pom.xml"), pom(version))?;
    let mut command = Command::new("mvn");
    command
        .args(["-B", "-q", "dependency:copy-dependencies", "-DoutputDirectory=lib"])
        .current_dir(folder);
    finish(
        &mut command,
        &format!("fetch RocketMQ's Java client {version} from Maven Central"),
    )?;
    std::fs::write(complete, "")?;
    Ok(jars)
}

fn pom(version: &str) -> String {
    format!(
        r#"<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>forebay</groupId>
  <artifactId>interop</artifactId>
  <version>1</version>
  <dependencies>
    <dependency>
      <groupId>org.apache.rocketmq</groupId>
      <artifactId>rocketmq-client</artifactId>
      <version>{version}</version>
    </dependency>
  </dependencies>
</project>
"#
    )
}

fn compile(folder: &Path, jars: &Path, version: &str) -> Result<PathBuf> {
    let classes = folder.join("classes");
    std::fs::create_dir_all(&classes)?;
    let mut sources = Vec::new();
    for entry in std::fs::read_dir(here().join("java")).context("list the Java sources")? {
        let file = entry?.path();
        let name = file.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let too_new = version.starts_with("4.5.") && NOT_IN_4_5.contains(&name);
        if name.ends_with(".java") && !too_new {
            sources.push(file);
        }
    }
    let mut command = Command::new("javac");
    command.args(["-nowarn", "-Xlint:none", "-d"]).arg(&classes);
    command.arg("-cp").arg(format!("{}/*", jars.display())).args(sources);
    finish(&mut command, &format!("compile the program around client {version}"))?;
    Ok(classes)
}
