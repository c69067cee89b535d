//! Java programs: jars from Maven Central, compiled sources.

use crate::{finish, need};
use anyhow::Result;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Fetches `group:artifact` of a version, with all that they need, into `lib` of a folder (once).
pub(crate) fn fetch(folder: &Path, artifacts: &[&str], version: &str) -> Result<PathBuf> {
    for tool in ["java", "javac", "mvn"] {
        need(tool)?;
    }
    let jars = folder.join("lib");
    let complete = folder.join("complete");
    if complete.exists() {
        return Ok(jars);
    }
    std::fs::write(folder.join("pom.xml"), pom(artifacts, version))?;
    let mut command = Command::new("mvn");
    command
        .args(["-B", "-q", "dependency:copy-dependencies", "-DoutputDirectory=lib"])
        .current_dir(folder);
    finish(
        &mut command,
        &format!("fetch {} {version} from Maven Central", artifacts.join(", ")),
    )?;
    std::fs::write(complete, "")?;
    Ok(jars)
}

fn pom(artifacts: &[&str], version: &str) -> String {
    let dependency = |artifact: &&str| {
        let (group, artifact) = artifact.split_once(':').unwrap_or_default();
        format!(
            "    <dependency>
      <groupId>{group}</groupId>
      <artifactId>{artifact}</artifactId>
      <version>{version}</version>
    </dependency>
"
        )
    };
    format!(
        r#"<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>forebay</groupId>
  <artifactId>interop</artifactId>
  <version>1</version>
  <dependencies>
{}  </dependencies>
</project>
"#,
        artifacts.iter().map(dependency).collect::<String>()
    )
}

/// Compiles sources into `classes` of a folder.
pub(crate) fn compile(folder: &Path, jars: &Path, sources: &[PathBuf], doing: &str) -> Result<PathBuf> {
    let classes = folder.join("classes");
    std::fs::create_dir_all(&classes)?;
    let mut command = Command::new("javac");
    command.args(["-nowarn", "-Xlint:none", "-d"]).arg(&classes);
    command.arg("-cp").arg(format!("{}/*", jars.display())).args(sources);
    finish(&mut command, doing)?;
    Ok(classes)
}
