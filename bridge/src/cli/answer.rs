//! How an answer of the bridge is told: its status, and what that means to the shell.

use super::failure::Exit;
use super::output::Output;
use serde_json::Value;
use std::io;

/// Tells a result document; the exit code is its status.
pub(super) fn tell(envelope: &Value, output: &mut Output) -> io::Result<Exit> {
    if output.json {
        output.document(envelope)?;
    }
    let data = &envelope["data"];
    let status = data["status"].as_str().unwrap_or("error");
    let exit = match status {
        "ok" | "accepted" => Exit::Done,
        "unknown" => Exit::Unknown,
        _ => Exit::No,
    };
    if exit != Exit::Done {
        if !output.json {
            output.error(
                data["error"]["code"].as_str().unwrap_or("core_error"),
                &sentence(&data["error"]),
            )?;
        }
        return Ok(exit);
    }
    if !output.json {
        let (command, result) = (data["command"].as_str().unwrap_or("?"), &data["result"]);
        let mut line = format!("{status}  {command}");
        for (name, value) in [
            ("", &result["message"]["id"]),
            ("in ", &envelope["subject"]),
        ] {
            if let Some(value) = value.as_str() {
                line.push_str(&format!("  {name}{value}"));
            }
        }
        if let Some(ms) = data["timing"]["provider_ms"].as_u64() {
            line.push_str(&format!("  {ms} ms"));
        }
        for (member, words) in [
            ("duplicate", "the first result again"),
            ("dry_run", "nothing was done"),
        ] {
            if data[member] == true {
                line.push_str(&format!("  ({words})"));
            }
        }
        output.line(line)?;
        rest(result, output)?;
    }
    Ok(exit)
}

/// What a result has beside the id of a message.
fn rest(result: &Value, output: &mut Output) -> io::Result<()> {
    for (name, value) in result.as_object().into_iter().flatten() {
        let is_told = name == "message" && value.get("segments").is_none();
        let is_empty = value.as_array().is_some_and(Vec::is_empty);
        if !is_told && !is_empty {
            output.line(format!("  {name}  {value}"))?;
        }
    }
    Ok(())
}

/// Message, the provider's own words and what to do about it.
pub(super) fn sentence(error: &Value) -> String {
    let mut text = error["message"]
        .as_str()
        .unwrap_or("no reason was given")
        .to_owned();
    let native = &error["native"];
    let words: Vec<&str> = [&native["code"], &native["text"]]
        .into_iter()
        .filter_map(Value::as_str)
        .collect();
    if !words.is_empty() {
        text.push_str(&format!(" (provider: {})", words.join(" ")));
    }
    if let Some(path) = error["path"].as_str() {
        text.push_str(&format!(" at {path}"));
    }
    if let Some(hint) = error["hint"].as_str() {
        text.push_str(&format!("; {hint}"));
    }
    if let Some(ms) = error["retry_after_ms"].as_u64() {
        text.push_str(&format!("; again after {ms} ms"));
    }
    text
}
